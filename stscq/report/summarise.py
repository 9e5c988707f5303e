"""Everything that tables, figures and claims are made of, in a few small files: the one step that reads evaluations.

python -m stscq.report.summarise --evaluation data/demo/evaluation --models models/demo ... --out data/demo/summary

runs.csv: what was run. values.parquet: every measured number, by run, set, protocol and seed. comparisons.csv: paired
differences between runs. utilisation_tokens, utilisation_groups.parquet: share of used entries by token and by codebook
group. people, curves.parquet: whose images went to which group, training curves. fairness.csv: rates of groups of
people. strangers, served.csv: the same of faces without identities, and which codebook groups serve them. peers, int8,
symbols, symbols_saved.csv: classic codecs, int8 codebooks, models of the symbols. cost, measured, training_cost.csv:
what it costs. trials, trial_comparisons, trial_curves.csv: what stscq.evaluation.trials answered.
second_values.parquet, second_comparisons.csv: values and comparisons of the second judge, the recogniser of training.
What is outside all claims (`taught_by`, `allocation`, `effort`) is in values, curves and portraits alone, and compared
with its twin alone.
portraits/BACKBONE.npz: reconstructions of people whose pictures may be passed on; those of test people are no part of
this (stscq.report.sheets).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from stscq.cli_tools import run as run_command
from stscq.data.sensitivity import read_sensitivity
from stscq.evaluation.int8_frame import int8_frame
from stscq.evaluation.peers.frames import peer_points
from stscq.evaluation.symbols_frame import symbols_frame, symbols_saved
from stscq.files import read_log, write_atomically
from stscq.params import outside_claims, taught_by_judge, twin
from stscq.quantization.allocation import allocate, total_bits
from stscq.report.collect import IDENTITY, MEASURES, Evaluations, Run
from stscq.report.fairness import fairness, router_choices
from stscq.report.strangers import served, strangers
from stscq.report.summary import OWN_SET
from stscq.report.training_cost import read_training, record_files, training_cost
from stscq.report.trials import trial_frames


def main(
    evaluation: Path,
    second_judge: Path,
    measured_strangers: Path,
    models: Path,
    cost: Path,
    measured: Path,
    profile: str,
    size: int,
    seeds: str,
    sets: str,
    variants: str,
    tokenizers: str,
    compared: str,
    out: Path,
    peers: Path | None = None,
    int8: Path | None = None,
    symbols: Path | None = None,
    redundancy: Path | None = None,
    trials: Path | None = None,
    full_size: Path | None = None,
    coded_portraits: Path | None = None,
    absent: str = "{}",
) -> None:
    """Writes the files named above, and about.json: profile, seeds, sets, pixels of a side, how many pairs and people
    were tested, and why measures are missing.

    SEEDS, SETS, VARIANTS and TOKENIZERS are JSON, from params.yaml; SETS: `faces` (evaluate_on), `fairness` and
    `strangers` (fairness_on: with identities, and without), and the own sets of backbones by name. ABSENT: JSON, the
    optional sets that are not here, and where they are looked for. SIZE: pixels of a side of the faces. COST,
    MEASURED: the folders of stscq.evaluation.count_cost and .measure_cost. SECOND_JUDGE: that of
    stscq.evaluation.second_judge, for identity_teacher. PEERS, INT8, SYMBOLS: the folders of what docs/comparison.md
    describes, and COMPARED (JSON) which codecs and variants are in them. FULL_SIZE: the folder of
    stscq.evaluation.full_size. CODED_PORTRAITS: of stscq.evaluation.portraits. MEASURED_STRANGERS: of
    stscq.evaluation.strangers, empty where SETS names none.
    """
    of = json.loads(sets)
    everybody = Evaluations(evaluation, json.loads(seeds), of["faces"], json.loads(variants), json.loads(tokenizers))
    faces = everybody._replace(variants={b: v for b, v in everybody.variants.items() if b not in of})
    pictures = [
        everybody._replace(sets=of[b], variants={b: everybody.variants[b]}) for b in everybody.variants if b in of
    ]
    out.mkdir(parents=True, exist_ok=True)
    parts, claimed = [faces, *pictures], faces.claimed()
    runs = pd.concat([describe(e) for e in parts], ignore_index=True)
    unknown = published(faces).on(of.get("strangers", []))
    further_sets = [s for s in (*of["fairness"], *unknown.sets) if s not in of["faces"]]
    evaluated = [*parts, published(faces).on(further_sets)]
    values = pd.DataFrame([*(row for e in evaluated for row in all_values(e)), *full_size_values(full_size)])
    runs.to_csv(out / "runs.csv", index=False)
    values.to_parquet(out / "values.parquet")
    pd.DataFrame([row for e in parts for row in comparisons(e)]).to_csv(out / "comparisons.csv", index=False)
    for unit in ("token", "group"):
        pd.DataFrame(utilisation_by(claimed, unit)).to_parquet(out / f"utilisation_{unit}s.parquet")
    router_choices(claimed).to_parquet(out / "people.parquet")
    fairness(published(faces).on(of["fairness"])).to_csv(out / "fairness.csv", index=False)
    strangers(unknown, measured_strangers).to_csv(out / "strangers.csv", index=False)
    served(unknown, measured_strangers).to_csv(out / "served.csv", index=False)
    second = faces.judged_twice()._replace(folder=second_judge)
    pd.DataFrame(second_values(second)).to_parquet(out / "second_values.parquet")
    pd.DataFrame(second_comparisons(second)).to_csv(out / "second_comparisons.csv", index=False)
    pd.DataFrame(curves(everybody, models)).to_parquet(out / "curves.parquet")
    pd.DataFrame(allocations(everybody, models), columns=ALLOCATION).to_csv(out / "allocation.csv", index=False)
    if coded_portraits:
        (out / "portraits").mkdir(exist_ok=True)
        for backbone in faces.variants:
            shown = portraits(faces, backbone, coded_portraits)
            np.savez_compressed(out / "portraits" / f"{backbone}.npz", **shown)  # type: ignore[arg-type]
    for file in (cost / "cost.csv", measured / "measured.csv"):
        write_atomically(out / file.name, file.read_text(encoding="utf-8"))
    training_cost(map(read_training, record_files(models))).to_csv(out / "training_cost.csv", index=False)
    for name, frame in trial_frames(trials, json.loads(compared)["trials"]).items():
        frame.to_csv(out / f"{name}.csv", index=False)
    for name, frame in further(faces, json.loads(compared), peers, int8, symbols, redundancy).items():
        frame.to_csv(out / f"{name}.csv", index=False)
    about = {
        "profile": profile,
        "seeds": faces.seeds,
        "sets": of,
        "size": size,
        "tested": {image_set: tested(faces, image_set) for image_set in faces.sets},
        "missing": missing(everybody, of),
        "absent": json.loads(absent),
    }
    write_atomically(out / "about.json", json.dumps(about, indent=1) + "\n")


def published(e: Evaluations) -> Evaluations:
    """The variants that stand for published rows: those that are evaluated on sets of fairness_on alone."""
    variants = {name: {v: one for v, one in found.items() if one["published"]} for name, found in e.variants.items()}
    return e._replace(variants=variants, tokenizers={name: {} for name in variants})


def further(
    e: Evaluations,
    compared: Mapping[str, Any],
    peers: Path | None,
    int8: Path | None,
    symbols: Path | None,
    redundancy: Path | None,
) -> dict[str, pd.DataFrame]:
    """Classic codecs, int8 codebooks, models of the symbols, redundancy of groups; no rows where none are."""
    own = [OWN_SET]  # symbols are modelled on our own people alone
    runs = [(backbone, variant) for backbone, variant in compared["symbols"]]
    saved = [symbols_saved(symbols, run, own, e.seeds, "codec", "group_position") for run in runs if symbols]
    return {
        "peers": peer_points(peers, compared["peers"], e.sets) if peers else pd.DataFrame(),
        "int8": int8_frame(int8, e.folder, compared["int8"], e.sets, e.seeds) if int8 else pd.DataFrame(),
        "symbols": symbols_frame(symbols, runs, own, e.seeds) if symbols else pd.DataFrame(),
        "symbols_saved": pd.concat(saved) if saved else pd.DataFrame(),
        "redundancy": pd.DataFrame(redundancies(e, redundancy, compared["redundancy"]) if redundancy else []),
    }


def redundancies(e: Evaluations, folder: Path, runs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """A row a run and seed: what stscq.evaluation.redundancy measured on our own test people."""
    rows = []
    for (backbone, variant), seed in product(runs, e.seeds):
        v = e.variants[backbone][variant]
        file = folder / backbone / variant / e.sets[0] / f"seed{seed}" / "metrics.json"
        where = {"backbone": backbone, "variant": variant, "groups": v["M"], "entries": v["K"], "seed": seed}
        rows.append({**where, **json.loads(file.read_text(encoding="utf-8"))})
    return rows


def describe(e: Evaluations) -> pd.DataFrame:
    """A row a run: method, M, K, how groups were selected in training, M and K of the published row it stands for;
    power of the sensitivity by which entries were allocated, where codebooks are of unequal size; the encoder's effort;
    and its twin, of a run outside all claims."""
    rows = []
    for run in e.runs():
        first = e.metrics(run, e.seeds[0], e.sets[0])
        v = e.variants[run.backbone].get(run.variant)
        row: dict[str, Any] = {**run._asdict(), "method": run.variant, "M": 1, "training": "nn"}
        row["outside_claims"] = v is not None and outside_claims(v)
        row["power"] = (v or {}).get("allocation", {}).get("power", float("nan"))
        row["effort"] = (v or {}).get("effort", 0)
        row["twin"] = twin(e.variants[run.backbone], run.variant) if row["outside_claims"] else None
        if v is not None:
            row |= {"method": method(v), "M": v["M"], "K": v["K"], "training": v["training"]}
            row |= dict(zip(("published_M", "published_K"), v["published"] or (None, None), strict=True))
        else:
            row["K"] = e.tokenizers[run.backbone][run.variant]
        tokens = len(first["utilisation_per_token"])
        rows.append({**row, "tokens": tokens, "bits": first["bits"], "bpp": first["bpp"]})
    return pd.DataFrame(rows).astype({"published_M": "Int64", "published_K": "Int64"})


def method(variant: Mapping[str, Any]) -> str:
    if variant["shared"]:
        return "global" if variant["M"] == 1 else "token_shared"
    return "token_specific" if variant["M"] == 1 else "switchable"


def all_values(e: Evaluations) -> Iterator[dict[str, Any]]:
    """A row a number, of every run and of the uncompressed images."""
    for image_set, seed in product(e.sets if e.runs() else (), e.seeds):
        for run in e.runs():
            whole = e.everything(run, seed, image_set)
            found = whole["selections"][run.selection]
            if run.selection == "router":
                found |= {"nn_router_agreement": whole["nn_router_agreement"]}
            else:
                found |= {f"batch_{name}": value for name, value in whole["batch_1_and_64"].items()}
            yield from number_rows(run, seed, image_set, found)
        if "protocols" in found:  # otherwise pictures that are no faces
            yield from original_rows(e, seed, image_set)


def original_rows(e: Evaluations, seed: int, image_set: str) -> Iterator[dict[str, Any]]:
    original = e.original(seed, image_set)
    yield from number_rows(Run("none", "original", ""), seed, image_set, original)
    yield from number_rows(Run("none", "mean_face", ""), seed, image_set, original["mean_face"])


def second_values(e: Evaluations) -> Iterator[dict[str, Any]]:
    """`all_values` of the second judge."""
    for image_set, seed in product(e.sets, e.seeds):
        yield from original_rows(e, seed, image_set)
        for run in nn_runs(e):
            yield from number_rows(run, seed, image_set, e.metrics(run, seed, image_set))


def second_comparisons(e: Evaluations) -> Iterator[dict[str, Any]]:
    """`comparisons` of the second judge: what is outside all claims, with its twin."""
    for run in nn_runs(e):
        if outside_claims(e.variants[run.backbone][run.variant]):
            yield from compared(e, run, "twin", references(e, run)["twin"], IDENTITY)


def nn_runs(e: Evaluations) -> list[Run]:
    """The second judge judges no other selection."""
    return [run for run in e.runs() if run.selection == "nn"]


def full_size_values(folder: Path | None) -> Iterator[dict[str, Any]]:
    """The same of the uncompressed images at full size, where they were evaluated."""
    if folder is not None:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        for seed, found in metrics["seeds"].items():
            yield from number_rows(Run("none", "original_full_size", ""), int(seed), OWN_SET, found)


def tested(e: Evaluations, image_set: str) -> dict[str, Any]:
    """Who is behind an accuracy: pairs of each seed; different pairs, and people in them, of all seeds together."""
    run = e.runs()[0]
    pairs = [e.pairs(run, seed, image_set) for seed in e.seeds]
    everybody = pd.concat(pairs).drop_duplicates(["a", "b"])
    images = pd.concat([e.selected(run, seed, image_set, "images.parquet") for seed in e.seeds])
    people = set(images.identity[images.row.isin(np.unique(everybody[["a", "b"]]))])
    return {"pairs_by_seed": [len(part) for part in pairs], "pairs": len(everybody), "people": len(people)}


def number_rows(run: Run, seed: int, image_set: str, measures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """protocol: empty for the measures of a whole set."""
    for protocol, part in {"": measures, **measures.get("protocols", {})}.items():
        where = {**run._asdict(), "set": image_set, "protocol": protocol, "seed": seed}
        for measure, value in part.items():
            if isinstance(value, int | float):
                yield {**where, "measure": measure, "value": float(value)}


def comparisons(e: Evaluations) -> Iterator[dict[str, Any]]:
    """Paired differences of each run to its references, over all seeds and sets of e."""
    identity = "ids" in e.metrics(e.runs()[0], e.seeds[0], e.sets[0])
    for run in e.runs():
        for name, baseline in references(e, run).items():
            yield from compared(e, run, name, baseline, MEASURES if identity else MEASURES[len(IDENTITY) :])


def compared(e: Evaluations, run: Run, versus: str, baseline: Run, measures: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row a measure: the paired difference of a run to one of its references, which is called `versus`."""
    paired = e.compare_images(run, baseline, [measure for measure in measures if measure != "mean_acc"])
    if "mean_acc" in measures:
        paired = {"mean_acc": e.compare_accuracy(run, baseline), **paired}
    for measure in measures:
        yield {**run._asdict(), "versus": versus, "measure": measure, **paired[measure]._asdict()}


def references(e: Evaluations, run: Run) -> dict[str, Run]:
    """What a run is compared with, each with selection nn.

    global: the compute-matched baseline; where there are several and the run has one group, that of as many entries.
    pretrained: of the fine-tuned tokenizer. nn: of selection by the router, the same codec. nn_trained: the same M
    and K, trained with nn. one_group, most_groups: token-specific, the same K. one_shared: of token-shared groups, one
    shared codebook of the same K. token_shared: the same M, K and training, token-shared. What is outside all
    claims is nobody's reference, and has one: its twin, with the same selection.
    """
    v = e.variants[run.backbone].get(run.variant)
    if v is not None and outside_claims(v):
        other = twin(e.variants[run.backbone], run.variant)
        return {} if other is None else {"twin": run._replace(variant=other)}
    variants = e.claimed().variants[run.backbone]
    names: dict[str, str | None] = {}
    baselines = [name for name, other in variants.items() if method(other) == "global"]
    alike = [name for name in baselines if v is not None and v["M"] == 1 and variants[name]["K"] == v["K"]]
    names["global"] = (alike or baselines)[0]
    if run.selection == "router":
        names["nn"] = run.variant
    elif v is None:
        names["pretrained"] = "pretrained" if "pretrained" in e.tokenizers[run.backbone] else None
    else:
        M, K, shared = v["M"], v["K"], v["shared"]
        if not shared and v["training"] == "router":
            names["nn_trained"] = find_variant(variants, shared=False, M=M, K=K, training="nn")
        if M > 1:
            names["one_shared" if shared else "one_group"] = find_variant(variants, shared=shared, M=1, K=K)
        if not shared:
            names["token_shared"] = (
                find_variant(variants, shared=True, M=M, K=K, training=v["training"]) if M > 1 else None
            )
            routed = {
                o["M"]: name
                for name, o in variants.items()
                if not o["shared"] and o["K"] == K and o["training"] == "router"
            }
            names["most_groups"] = routed[max(routed)] if routed and max(routed) > M else None
    found = {name: Run(run.backbone, variant, "nn") for name, variant in names.items() if variant is not None}
    return {name: reference for name, reference in found.items() if reference != run}


def find_variant(variants: Mapping[str, Mapping[str, Any]], **properties: Any) -> str | None:
    """The name of the first variant that has these properties."""
    return next(
        (name for name, v in variants.items() if all(v[key] == value for key, value in properties.items())), None
    )


def utilisation_by(e: Evaluations, unit: Literal["token", "group"]) -> list[dict[str, Any]]:
    """A row a token (or codebook group): its share of used entries, in [0, 1], on every set and seed."""
    rows = []
    for run, image_set, seed in product(e.runs(), e.sets, e.seeds):
        where = {**run._asdict(), "set": image_set, "seed": seed}
        shares = e.metrics(run, seed, image_set)[f"utilisation_per_{unit}"]
        rows += [{**where, unit: number, "share": share} for number, share in enumerate(shares)]
    return rows


TERMS = {"stage1_codebooks": "codebook", "stage2": "codebook", "stage3": "loss"}
"""What the curve of a stage shows: its loss, but where the router's terms change with M, the codebooks'."""


def curves(e: Evaluations, models: Path) -> list[dict[str, Any]]:
    """The training curves: rows of backbone, stage, variant, seed, step, value."""
    rows = []
    for backbone, variants in e.variants.items():
        for stage, term in TERMS.items():
            for variant, v in variants.items():
                if "effort" in v or (taught_by_judge(v) and stage != "stage3"):
                    continue  # those of its twin
                for seed in e.seeds:
                    name = f"{v['M']}x{v['K']}_{v['training']}" if stage == "stage1_codebooks" else variant
                    folder = models / backbone / stage / name / f"seed{seed}"
                    where = {"backbone": backbone, "stage": stage, "variant": variant, "seed": seed}
                    rows += [
                        {**where, "step": line["step"], "value": line[term]} for line in read_log(folder / "log.jsonl")
                    ]
    return rows


ALLOCATION = ["backbone", "variant", "seed", "token", "entries", "sensitivity"]


def allocations(e: Evaluations, models: Path) -> Iterator[dict[str, Any]]:
    """A row a token of the codebooks of unequal size: K_j and w_j."""
    for backbone, variants in e.variants.items():
        for variant, seed in product(
            (n for n, v in variants.items() if "allocation" in v and "effort" not in v), e.seeds
        ):
            v = variants[variant]
            w, errors = read_sensitivity(models / backbone / "sensitivity" / f"seed{seed}" / "sensitivity.json")
            bits = total_bits(v["allocation"].get("bits"), len(w), v["K"])
            K_j = allocate(errors, w, v["allocation"]["power"], bits, v["M"])
            for token, (entries, own) in enumerate(zip(K_j, w, strict=True)):
                where = {"backbone": backbone, "variant": variant, "seed": seed, "token": token}
                yield {**where, "entries": entries, "sensitivity": own}


def portraits(e: Evaluations, backbone: str, folder: Path) -> dict[str, np.ndarray]:
    """Variant -> what stscq.evaluation.portraits made by it, N x S x S x 3 uint8; `original` comes first.

    Without the variants that are another one's codec with effort.
    """
    shown: dict[str, np.ndarray] = {}
    for run in e.runs():
        v = e.variants[run.backbone].get(run.variant, {})
        if run.backbone == backbone and run.selection == "nn" and "effort" not in v:
            with np.load(folder / backbone / f"{run.variant}.npz", allow_pickle=False) as file:
                shown |= {"original": file["original"], run.variant: file["decoded"]}
    return shown


def missing(e: Evaluations, of: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Measures that could not be had in some evaluation, and why."""
    reasons: dict[str, str] = {}
    for run in e.runs():
        reasons |= e.on(of.get(run.backbone, of["faces"])).missing(run)
    return reasons


if __name__ == "__main__":
    run_command(main)
