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
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stscq.cli_tools import run as run_command
from stscq.evaluation.int8_frame import int8_frame
from stscq.evaluation.peers.frames import peer_points
from stscq.evaluation.symbols_frame import symbols_frame, symbols_saved
from stscq.files import write_atomically
from stscq.params import method, outside_claims, twin
from stscq.report.collect import Evaluations
from stscq.report.comparisons import comparisons, second_comparisons
from stscq.report.fairness import fairness, router_choices
from stscq.report.strangers import served, strangers
from stscq.report.summary import OWN_SET
from stscq.report.training_cost import read_training, record_files, training_cost
from stscq.report.training_records import ALLOCATION, allocations, curves
from stscq.report.trials import trial_frames
from stscq.report.values import all_values, full_size_values, second_values, utilisation_by


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
    """A row a run and seed: what stscq.evaluation.redundancy measured on the first set."""
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


def tested(e: Evaluations, image_set: str) -> dict[str, Any]:
    """Who is behind an accuracy: pairs of each seed; different pairs, and people in them, of all seeds together."""
    run = e.runs()[0]
    pairs = [e.pairs(run, seed, image_set) for seed in e.seeds]
    everybody = pd.concat(pairs).drop_duplicates(["a", "b"])
    images = pd.concat([e.selected(run, seed, image_set, "images.parquet") for seed in e.seeds])
    people = set(images.identity[images.row.isin(np.unique(everybody[["a", "b"]]))])
    return {"pairs_by_seed": [len(part) for part in pairs], "pairs": len(everybody), "people": len(people)}


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
