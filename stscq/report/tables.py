"""Tables of a run beside the published numbers; a block of published.yaml and a function here have the same name.

python -m stscq.report.tables --evaluation data/demo/evaluation --profile demo --seeds '[1, 2, 3]' ...
"""

import json
from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stscq.cli_tools import run as run_command
from stscq.files import write_atomically
from stscq.report.collect import IDENTITY, MEASURES, PICTURES, Evaluations, Run
from stscq.report.published import published_rows
from stscq.report.render import Table, paired_columns, summary_columns, write_table

SEEDS_NOTE = "Mean ± standard deviation over seeds [95 % interval of the mean, Student's t]."
IDS_NOTE = (
    "ids: mean cosine between the judge's embeddings of an image and its reconstruction. ids_centred: the same after "
    "subtracting the mean embedding of the training people, so that 0 is anybody. mean_face: the mean image of the "
    "training people for every face, no bits at all; where its ids is near the codecs', ids says little."
)
PAIRED_NOTE = (
    "`_vs_`: paired difference to the compute-matched global baseline over the same test pairs or images of all seeds "
    "[95 % bootstrap interval over people], p two-sided."
)
BASELINE_NOTE = (
    "global_plain is the model after stage 1. global had the same further training as the rows below it: stage 2 on "
    "its one codebook, stage 3 on its decoder."
)


def published(block: str, **where: Any) -> dict[str, Any]:
    """The published accuracy and IDS of the one row that fits, or empty cells."""
    rows = published_rows(block)
    for column, value in where.items():
        rows = rows[rows[column] == value]
    if len(rows) != 1:
        return {"published_mean_acc": None, "published_ids": None}
    return {"published_mean_acc": float(rows.mean_acc.iloc[0]), "published_ids": float(rows.ids.iloc[0])}


def measured(e: Evaluations, run: Run, measures: list[str]) -> dict[str, float]:
    """Mean over seeds and its interval; empty cells for what was not measured."""
    columns: dict[str, float] = {}
    for measure in measures:
        columns |= summary_columns(measure, e.values(run, measure) or [nan])
    return columns


def versus(e: Evaluations, run: Run, baseline: Run, name: str) -> dict[str, Any]:
    """Paired differences in accuracy, IDS and centred IDS; empty for the baseline itself."""
    columns: dict[str, Any] = {}
    for measure in IDENTITY:
        column = f"{measure}_vs_{name}"
        if run == baseline:
            columns |= dict.fromkeys(f"{column}{ending}" for ending in ("", "_low", "_high", "_p"))
        elif measure == "mean_acc":
            columns |= paired_columns(column, e.compare_accuracy(run, baseline))
        else:
            columns |= paired_columns(column, e.compare_images(run, baseline, measure))
    return columns


def reference_rows(e: Evaluations) -> list[dict[str, Any]]:
    """The ceiling, and the floor: the uncompressed images, and one mean face for everybody."""
    floor: dict[str, Any] = {"backbone": "none", "method": "mean_face"}
    for measure in ("ids", "ids_centred"):
        floor |= summary_columns(measure, e.mean_face(measure))
    return [{"backbone": "none", "method": "original", **summary_columns("mean_acc", e.original_accuracy())}, floor]


def baseline_of(e: Evaluations, backbone: str) -> Run:
    """The compute-matched global baseline of a backbone."""
    name = next(variant for variant, v in e.variants[backbone].items() if v["shared"])
    return Run(backbone, name, "nn")


def headline_table(e: Evaluations) -> Table:
    """What the README shows: the compute-matched baseline, token-specific, and switchable as the router chooses."""
    rows = reference_rows(e)
    for run in e.runs():
        what = e.describe(run)
        routed = what["method"] == "switchable" and run.selection == "cr"
        if what["method"] not in ("global", "token_specific") and not routed:
            continue
        rows.append(
            {
                "backbone": run.backbone,
                "method": what["method"],
                "codebooks": f"{what['M']} x {what['K']}",
                "bpp": what["bpp"],
                **measured(e, run, IDENTITY),
                **versus(e, run, baseline_of(e, run.backbone), "global"),
            }
        )
    notes = [
        SEEDS_NOTE,
        PAIRED_NOTE,
        IDS_NOTE,
        "codebooks: groups x entries a codebook. switchable: the router's choice (CR).",
    ]
    return Table("headline", "Face verification after compression", pd.DataFrame(rows), notes)


def main_table(e: Evaluations) -> Table:
    rows = reference_rows(e)
    for run in e.runs():
        what = e.describe(run)
        if what["M"] > 1:
            continue
        rows.append(
            {
                "backbone": run.backbone,
                "method": what["method"],
                "codebook_size": what.get("K"),
                "bpp": what["bpp"],
                **measured(e, run, MEASURES),
                **versus(e, run, baseline_of(e, run.backbone), "global"),
                **published("main", backbone=run.backbone, method=what["method"]),
            }
        )
    return Table(
        "main",
        "Token-specific against globally shared codebooks at equal bits per pixel",
        pd.DataFrame(rows),
        [SEEDS_NOTE, PAIRED_NOTE, IDS_NOTE, BASELINE_NOTE, "original: the uncompressed test images, the ceiling."],
    )


def variants_table(e: Evaluations) -> Table:
    used = ["utilisation_token_mean", "utilisation_all_entries", "utilisation_merged", "utilisation_bound"]
    rows = reference_rows(e)
    for run in e.runs():
        what = e.describe(run)
        shares = {name: 100 * sum(e.values(run, name)) / len(e.seeds) for name in [*used, "groups_used"]}
        rows.append(
            {
                "backbone": run.backbone,
                "method": what["method"],
                "codebooks": what["M"],
                "codebook_size": what.get("K"),
                "training": what["training"],
                "selection": run.selection,
                "bits": e.metrics(run, e.seeds[0], e.sets[0])["bits"],
                "bytes_written": e.metrics(run, e.seeds[0], e.sets[0])["bytes_written"],
                "bpp": what["bpp"],
                **measured(e, run, MEASURES),
                **shares,
                **versus(e, run, baseline_of(e, run.backbone), "global"),
            }
        )
    return Table(
        "variants",
        "Every variant and every selection that was evaluated",
        pd.DataFrame(rows),
        [
            SEEDS_NOTE,
            PAIRED_NOTE,
            IDS_NOTE,
            "bits: T log2 K + log2 M. bytes_written: mean length of the payloads that were really decoded.",
            "Utilisation in % of what the test images used: mean over tokens of each token's M K entries; of all M T K "
            "entries (the same number, by arithmetic); of the M K (group, entry) with tokens merged; and the bound "
            "N / (M K) that N images can reach at most in the first two.",
        ],
    )


def seeds_table(e: Evaluations) -> Table:
    rows = []
    for run in e.runs():
        what = e.describe(run)
        if what["method"] in ("global", "global_plain") or run.selection == "cr":
            continue
        M, K = what["published"] or (None, None)
        rows.append(
            {
                "backbone": run.backbone,
                "training": what["training"],
                "codebooks": what["M"],
                "codebook_size": what["K"],
                "seeds": len(e.seeds),
                **measured(e, run, IDENTITY),
                "storage_bits": e.metrics(run, e.seeds[0], e.sets[0])["bits"],
                "bpp": what["bpp"],
                **published("seeds", backbone=run.backbone, codebooks=M, codebook_size=K),
            }
        )
    notes = [
        SEEDS_NOTE,
        "Seeds change the split of the people, the recogniser and all training.",
    ]
    return Table("seeds", "Spread over seeds", pd.DataFrame(rows), notes)


def selection_at_inference_table(e: Evaluations) -> Table:
    rows = []
    for run in e.runs():
        what = e.describe(run)
        if what["method"] != "switchable" or what["training"] != "router":
            continue
        M, K = what["published"] or (None, None)
        nn = run._replace(selection="nn")
        rows.append(
            {
                "backbone": run.backbone,
                "selection": run.selection.upper(),
                "codebooks": what["M"],
                "codebook_size": what["K"],
                "bpp": what["bpp"],
                **measured(e, run, IDENTITY),
                **versus(e, run, nn, "nn"),
                **published(
                    "selection_at_inference",
                    backbone=run.backbone,
                    selection=run.selection.upper(),
                    codebooks=M,
                    codebook_size=K,
                ),
            }
        )
    notes = [
        SEEDS_NOTE,
        "NN: the group of least error among all. CR: the router's choice, one group in memory. `_vs_nn`: paired "
        "difference of CR to NN [95 % bootstrap interval over people], p two-sided.",
    ]
    return Table("selection_at_inference", "Choosing the group at inference", pd.DataFrame(rows), notes)


def selection_in_training_table(e: Evaluations) -> Table:
    rows = []
    for backbone, variants in e.variants.items():
        sizes = [(v["M"], v["K"]) for v in variants.values() if v["training"] == "nn" and v["M"] > 1]
        for variant, v in variants.items():
            if (v["M"], v["K"]) not in sizes:
                continue
            run = Run(backbone, variant, "nn")
            shares = {
                name: 100 * sum(e.values(run, name)) / len(e.seeds)
                for name in ("utilisation_all_entries", "utilisation_merged", "utilisation_bound", "groups_used")
            }
            printed = (
                published_rows("selection_in_training").set_index("selection").to_dict("index")[NAMES[v["training"]]]
            )
            rows.append(
                {
                    "backbone": backbone,
                    "training": NAMES[v["training"]],
                    "codebooks": v["M"],
                    "codebook_size": v["K"],
                    **measured(e, run, IDENTITY),
                    **shares,
                    "published_mean_acc": printed["mean_acc"],
                    "published_ids": printed["ids"],
                    "published_utilisation": printed["mean_utilisation"],
                }
            )
    notes = [
        SEEDS_NOTE,
        "Trained with the group of least error (NN) or the router's (routing); both evaluated with NN selection.",
        "Utilisation in %: of all (group, token, entry), of (group, entry) with tokens merged, and the bound N / (M K) "
        "of the former; groups_used in % of M. Published: titok_s with 16 x 1024.",
    ]
    return Table("selection_in_training", "Choosing the group in training", pd.DataFrame(rows), notes)


NAMES = {"nn": "NN", "router": "routing"}


def published_cells(block: str, measures: Sequence[str], **where: Any) -> dict[str, Any]:
    """published_MEASURE of the one row of a block that fits, or empty cells."""
    rows = published_rows(block)
    for column, value in where.items():
        rows = rows[rows[column] == value]
    found: Mapping[Any, Any] = rows.iloc[0].to_dict() if len(rows) == 1 else {}
    return {f"published_{measure}": found.get(measure) for measure in measures}


def missing_notes(e: Evaluations) -> list[str]:
    """Why some cells are empty: measures that need published weights which this run did not have."""
    reasons: dict[str, str] = {}
    for run in e.runs():
        reasons |= e.missing(run)
    return [f"{name}: empty, because {reason}." for name, reason in sorted(reasons.items())]


def image_quality_table(e: Evaluations) -> Table:
    measures = ["ssim", "psnr", "lpips"]
    rows = []
    for run in e.runs():
        what = e.describe(run)
        if what["M"] > 1 or what["method"] == "global_plain":
            continue
        rows.append(
            {
                "backbone": run.backbone,
                "method": what["method"],
                "bpp": what["bpp"],
                **measured(e, run, measures),
                **published_cells("image_quality", measures, backbone=run.backbone, method=what["method"]),
            }
        )
    notes = [SEEDS_NOTE, "LPIPS (AlexNet) with its published weights.", *missing_notes(e)]
    return Table("image_quality", "Quality of the pictures", pd.DataFrame(rows), notes)


def per_dataset_table(e: Evaluations, name: str, measure: str, title: str) -> Table:
    """One column a set; a set is called as in the published block up to an ending (agedb_30: agedb)."""
    rows = []
    for run in e.runs():
        what = e.describe(run)
        if what["method"] not in ("global", "token_specific"):
            continue
        columns: dict[str, Any] = {}
        for one in [[s] for s in e.sets] + [list(e.sets)]:
            label = one[0] if len(one) == 1 else "mean"
            columns |= summary_columns(label, e.on(one).values(run, measure) or [nan])
            known = [c for c in published_rows(name).columns if label.startswith(c)]
            columns |= published_cells(name, known, backbone=run.backbone, method=what["method"])
        rows.append({"backbone": run.backbone, "method": what["method"], "bpp": what["bpp"], **columns})
    return Table(name, title, pd.DataFrame(rows), [SEEDS_NOTE])


def per_dataset_accuracy_table(e: Evaluations) -> Table:
    return per_dataset_table(e, "per_dataset_accuracy", "mean_acc", "Verification accuracy (%) on each set")


def per_dataset_ids_table(e: Evaluations) -> Table:
    return per_dataset_table(e, "per_dataset_ids", "ids", "IDS on each set")


def fairness_table(e: Evaluations) -> Table:
    """e: on the sets that stand for groups of people."""
    rows = []
    for run in e.runs():
        what = e.describe(run)
        if what["method"] not in ("token_specific", "switchable") or run.selection == "cr":
            continue
        M, _ = what["published"] or (None, None)
        by_set = {s: e.on([s]).values(run, "mean_acc") for s in e.sets}
        spread = [float(np.std(accuracies)) for accuracies in zip(*by_set.values(), strict=True)]
        groups = {s: s.rsplit("_", 1)[-1] for s in e.sets}
        columns: dict[str, Any] = {}
        for s, values in by_set.items():
            columns |= summary_columns(groups[s], values)
        columns |= measured(e, run, ["mean_acc"]) | summary_columns("std", spread) | measured(e, run, ["ids"])
        printed = [*groups.values(), "mean_acc", "std", "ids"]
        rows.append(
            {
                "backbone": run.backbone,
                "codebooks": what["M"],
                "bpp": what["bpp"],
                **columns,
                **published_cells("fairness", printed, backbone=run.backbone, codebooks=M),
            }
        )
    notes = [SEEDS_NOTE, "std: population standard deviation of the accuracy over the groups, as in the paper."]
    return Table("fairness", "Accuracy (%) on groups of people", pd.DataFrame(rows), notes)


def imagenet_table(e: Evaluations) -> Table:
    """e: backbones trained on pictures that are no faces, on their own sets."""
    rows = []
    for run in e.runs():
        what = e.describe(run)
        if what["method"] == "global_plain":
            continue
        family = run.backbone.removesuffix("_imagenet")
        rows.append(
            {
                "backbone": family,
                "method": what["method"],
                "bpp": what["bpp"],
                **measured(e, run, PICTURES[::-1]),
                **published_cells("imagenet", PICTURES[::-1], backbone=family, method=what["method"]),
            }
        )
    notes = [SEEDS_NOTE, f"Pictures of {', '.join(e.sets)}. FID against the same pictures uncompressed."]
    notes.append("The paper prints the headings of PSNR and SSIM the other way round: an SSIM is never 17.")
    return Table("imagenet", "Beyond faces", pd.DataFrame(rows), [*notes, *missing_notes(e)])


def cost_table(cost: Path) -> Table:
    """COST: the folder of stscq.evaluation.count_cost."""
    notes = [
        "Counted from our modules at published size; no weights are needed.",
        "storage: float32 MiB of encoder, codebooks that are searched (NN: all groups, CR: one) and router.",
        "corrected: the paper's token-specific MaskGIT-VQGAN rows count an encoder of 98.70 MiB, where its global row, "
        "and our count, have 90.69.",
        "MACs: multiply-accumulates of encoder and decoders for one image, attention included, codebook search apart. "
        "The paper's column is headed FLOPs; the public definitions give 157.6, 115.6 and 277.3 G, as ours do.",
    ]
    return Table("cost", "Cost at the edge, at published size", pd.read_csv(cost / "cost.csv"), notes)


FACE_TABLES = {
    "headline": headline_table,
    "main": main_table,
    "variants": variants_table,
    "seeds": seeds_table,
    "selection_at_inference": selection_at_inference_table,
    "selection_in_training": selection_in_training_table,
    "image_quality": image_quality_table,
}
PER_DATASET_TABLES = {
    "per_dataset_accuracy": per_dataset_accuracy_table,
    "per_dataset_ids": per_dataset_ids_table,
}


def metrics(e: Evaluations) -> dict[str, Any]:
    """Means over seeds, by backbone, variant and selection: what `dvc metrics` compares."""
    found: dict[str, Any] = {}
    for run in e.runs():
        values = {measure: e.values(run, measure) for measure in MEASURES}
        rounded = {measure: round(float(np.mean(v)), 5) for measure, v in values.items() if v}
        found.setdefault(run.backbone, {}).setdefault(run.variant, {})[run.selection] = rounded
    return found


def main(evaluation: Path, cost: Path, profile: str, seeds: str, sets: str, variants: str, out: Path) -> None:
    """Writes OUT/NAME.csv and OUT/NAME.md for every table, and OUT/metrics.json. SEEDS, SETS, VARIANTS are JSON.

    VARIANTS as in params.yaml; SETS: `faces` (evaluate_on), `fairness`, and the own sets of backbones by name.
    Per-dataset tables need several sets of faces, `fairness` its sets, and `imagenet` a backbone with sets of its own.
    """
    of = json.loads(sets)
    everybody = Evaluations(evaluation, json.loads(seeds), of["faces"], json.loads(variants))
    faces = everybody._replace(variants={b: v for b, v in everybody.variants.items() if b not in of})
    tables = [make(faces) for make in FACE_TABLES.values()]
    tables.append(cost_table(cost))
    if len(faces.sets) > 1:
        tables += [make(faces) for make in PER_DATASET_TABLES.values()]
    if of["fairness"]:
        tables.append(fairness_table(faces.on(of["fairness"])))
    own = [b for b in everybody.variants if b in of]
    if own:
        pictures = everybody._replace(sets=of[own[0]], variants={b: everybody.variants[b] for b in own})
        tables.append(imagenet_table(pictures))
    write_atomically(out / "metrics.json", json.dumps(metrics(faces), indent=1) + "\n")
    for table in tables:
        profile_note = f"Profile {profile}, {len(faces.seeds)} seed(s). published_: as printed in the paper."
        write_table(table._replace(notes=[profile_note, *table.notes]), out)


if __name__ == "__main__":
    run_command(main)
