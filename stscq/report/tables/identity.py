"""Tables about the main question: is the person still recognised?"""

from collections.abc import Sequence
from math import nan
from typing import Any

import pandas as pd

from stscq.evaluation.published import beside, blocks, errata, published_rows
from stscq.params import TOKENIZERS
from stscq.report.collect import IDENTITY, MEASURES, Run
from stscq.report.render import Table, summary_columns
from stscq.report.summary import OWN_SET, RunSummary
from stscq.report.tables.cells import (
    BASELINE_NOTE,
    IDS_NOTE,
    MARK,
    MARK_NOTE,
    PAIRED_NOTE,
    SEEDS_NOTE,
    as_printed,
    mean,
    mean_and_std,
    measured,
    reference_rows,
    rows_of,
    tested_note,
    versus,
)


def headline(s: RunSummary) -> Table:
    """What the README shows: the compute-matched baseline, token-specific, and switchable by its router."""
    rows = reference_rows(s)
    for run, row in rows_of(s.faces()):
        routed = row.method == "switchable" and row.selection == "router" and not pd.isna(row.published_M)
        if row.method in ("global", "token_specific") or routed:
            rows.append(
                {
                    "backbone": run.backbone, "method": row.method, "groups_x_entries": f"{row.M} x {row.K}",
                    "bpp": row.bpp, "file_bytes": mean(s, run, "file_bytes"), **measured(s, run, IDENTITY),
                    **versus(s, run, "global"),
                }
            )  # fmt: skip
    notes = [
        tested_note(s),
        SEEDS_NOTE,
        PAIRED_NOTE,
        IDS_NOTE,
        "groups_x_entries: groups of codebooks, entries of each codebook. switchable: the router selects the group. "
        "file_bytes: of a whole file, range-coded, mean; bpp: of the fixed-length payload.",
    ]
    return Table("headline", "Face verification after compression", pd.DataFrame(rows), notes)


def main(s: RunSummary) -> Table:
    rows = reference_rows(s)
    for run, row in rows_of(s.faces()):
        if row.M == 1 and not run.variant.startswith("groups_"):
            ours = measured(s, run, MEASURES)
            theirs = beside(ours, "main", ("mean_acc", "ids"), s.paper, backbone=run.backbone, method=row.method)
            rows.append(
                {
                    "backbone": run.backbone, "method": row.method, "tokens": row.tokens, "groups": row.M,
                    "entries": row.K, "bpp": row.bpp, **ours, **versus(s, run, "global"), **theirs,
                }
            )  # fmt: skip
    rows += [
        {
            "backbone": "none",
            "method": method,
            "published_bpp": bpp,
            "published_mean_acc": mean_acc,
            "published_ids": ids,
        }
        for method, bpp, mean_acc, ids in blocks()["main"]["others"]
    ]
    notes = [
        *(tested_note(s), SEEDS_NOTE, PAIRED_NOTE, IDS_NOTE, BASELINE_NOTE),
        "original: the uncompressed test images, the ceiling. jpeg2000, codeformer: as the paper prints them; ours of "
        "JPEG 2000 stand in the table peers.",
    ]
    return Table(
        "main", "Token-specific against globally shared codebooks at equal bits per pixel", pd.DataFrame(rows), notes
    )


def ibq(s: RunSummary) -> Table:
    """The block of the paper for IBQ alone, which its main table leaves out."""
    rows = []
    for run, row in rows_of(s.faces()):
        if run.backbone == "ibq" and row.M == 1:
            ours = measured(s, run, MEASURES)
            theirs = beside(ours, "ibq", ("mean_acc", "ids", "bpp"), s.paper, backbone="ibq", method=row.method)
            rows.append(
                {
                    "backbone": run.backbone, "method": row.method, "tokens": row.tokens, "entries": row.K,
                    "bpp": row.bpp, **ours, **versus(s, run, "global"), **theirs,
                }
            )  # fmt: skip
    notes = [tested_note(s), SEEDS_NOTE, PAIRED_NOTE, BASELINE_NOTE]
    return Table("ibq", "Token-specific codebooks on IBQ", pd.DataFrame(rows), notes)


USED = ("utilisation_token_mean", "utilisation_all_entries", "utilisation_merged", "utilisation_bound", "groups_used")
UTILISATION_NOTE = (
    "Utilisation in % of what the test images used: mean over tokens of each token's M K entries; of all M T K entries "
    "(the same number, by arithmetic); of the M K (group, entry) with tokens merged; and the bound N / (M K) that N "
    "images can reach at most in the first two."
)


def percent(s: RunSummary, run: Run, measures: tuple[str, ...]) -> dict[str, float]:
    """Means over seeds of shares, in %, as MEASURE and MEASURE_std."""
    columns: dict[str, float] = {}
    for name in measures:
        columns |= mean_and_std(name, [100 * share for share in s.measured(run, name)])
    return columns


def variants(s: RunSummary) -> Table:
    rows = reference_rows(s)
    taught = s.taught()
    for run, row in rows_of(pd.concat([s.faces(), taught])):
        rows.append(
            {
                "backbone": run.backbone, "variant": marked(row), "method": row.method, "groups": row.M,
                "entries": row.K, "training": row.training, "selection": run.selection, "bits": row.bits,
                "bpp": row.bpp, **measured(s, run, MEASURES), **percent(s, run, USED), **versus(s, run, "global"),
            }
        )  # fmt: skip
    notes = [tested_note(s), SEEDS_NOTE, PAIRED_NOTE, IDS_NOTE, "bits: T log2 K + log2 M.", UTILISATION_NOTE]
    notes += [MARK_NOTE] if len(taught) else []
    return Table("variants", "Every variant and every selection that was evaluated", pd.DataFrame(rows), notes)


def marked(row: Any) -> str:
    """The variant of a row of `RunSummary.runs`, with the mark of those outside all claims."""
    return f"{row.variant} {MARK}" if row.outside_claims else str(row.variant)


TAUGHT = ("mean_acc", "ids")
"""What both judges are asked."""


def identity_teacher(s: RunSummary) -> Table:
    """What two recognisers make of the codecs that one of them, the judge, taught, and of these codecs' twins."""
    second = s.by_second_judge()
    original = Run("none", "original", "")
    ceiling, floor = (
        {**by_both(one, ["mean_acc" if name == "original" else "ids"], s, second), "variant": name}
        for one, name in ((original, "original"), (Run("none", "mean_face", ""), "mean_face"))
    )
    rows: list[dict[str, Any]] = [{"backbone": "none", **ceiling}, {"backbone": "none", **floor}]
    runs = s.runs[s.runs.selection == "nn"]
    marked_runs = s.taught()
    for _, taught in rows_of(marked_runs[marked_runs.selection == "nn"]):
        of_backbone = runs[runs.backbone == taught.backbone].set_index("variant", drop=False)
        for run, row in rows_of(of_backbone.loc[[taught.twin, taught.variant]]):
            rows.append(
                {
                    "backbone": run.backbone, "variant": marked(row), "groups": row.M, "entries": row.K, "bpp": row.bpp,
                    **by_both(run, TAUGHT, s, second), **versus(s, run, "twin", TAUGHT),
                    **{f"recogniser_{name}": value for name, value in versus(second, run, "twin", TAUGHT).items()},
                }
            )  # fmt: skip
    counted = {name: second.measured(original, name) for name in ("pairs", "people")}
    seen = ", ".join(f"{sum(values) / len(values):.0f} {name}" for name, values in counted.items() if values)
    notes = [
        SEEDS_NOTE,
        "recogniser_: judged by the recogniser of training instead, on the same pairs and images. The row original "
        f"says what it verifies of people whom it never saw (a seed and set: {seen}; a published one may have seen "
        "anybody).",
        "The twin above a marked row has the same codebooks, and its stage 3 the losses of the recogniser of training, "
        "which took no part in the stage 3 of the marked row; the tokenizer, which both share, it fine-tuned where "
        "stage1_tokenizer.steps is not 0. `_vs_twin`: paired difference over the same test pairs or images of all "
        "seeds [95 % bootstrap interval over people], p two-sided.",
        MARK_NOTE,
    ]
    columns = ["backbone", "variant", "groups", "entries", "bpp"]
    frame = pd.DataFrame(rows)
    frame = frame[[*(c for c in columns if c in frame), *(c for c in frame if c not in columns)]]
    return Table("identity_teacher", "A decoder taught by the judge, judged twice", frame, notes)


def by_both(run: Run, measures: Sequence[str], s: RunSummary, second: RunSummary) -> dict[str, float]:
    """The measures by the judge, and as recogniser_MEASURE by the recogniser of training."""
    again = measured(second, run, measures)
    return {**measured(s, run, measures), **{f"recogniser_{name}": value for name, value in again.items()}}


def seeds(s: RunSummary) -> Table:
    rows = []
    for run, row in rows_of(s.faces()):
        if row.method in ("global", "token_shared", *TOKENIZERS) or run.selection == "router":
            continue
        ours = measured(s, run, IDENTITY)
        theirs = beside(
            ours, "seeds", ("mean_acc", "mean_acc_std", "ids", "ids_std"), s.paper,
            backbone=run.backbone, groups=row.published_M, entries=row.published_K,
        )  # fmt: skip
        by_seed = {f"mean_acc_seed{seed}": v for seed, v in zip(s.seeds, s.measured(run, "mean_acc"), strict=False)}
        rows.append(
            {
                "backbone": run.backbone, "tokens": row.tokens, "training": row.training, "groups": row.M,
                "entries": row.K, **ours, **by_seed, "storage_bits": row.bits, "bpp": row.bpp, **theirs,
            }
        )  # fmt: skip
    notes = [
        tested_note(s),
        SEEDS_NOTE,
        "Seeds change the split of the people, the recogniser and all training.",
        *errata("seeds"),
    ]
    return Table("seeds", "Spread over seeds", pd.DataFrame(rows), notes)


PROTOCOLS = {
    "random_impostors": "all genuine pairs, impostor pairs drawn at random",
    "hardest_impostors": "the impostor pairs whose uncompressed images the judge finds most alike, and as many genuine",
    "largest_change": "the genuine pairs that differ most in pose or light (at 16 x 16 pixels), and as many impostor "
    "pairs",
}


def per_dataset(s: RunSummary, name: str, measure: str, title: str) -> Table:
    """One column a set, or where our own people are the only set, one a protocol; the published columns beside them."""
    own = s.sets == [OWN_SET]
    columns: list[dict[str, Any]] = [{"protocol": p} for p in PROTOCOLS] if own else [{"sets": [one]} for one in s.sets]
    labels = list(PROTOCOLS) if own else s.sets
    printed = list(published_rows(name).columns[3:])
    rows: list[dict[str, Any]] = []
    if measure == "mean_acc":
        ceiling = cells_of(s, Run("none", "original", ""), labels, columns, measure)
        rows.append({"backbone": "none", "method": "original", **ceiling})
    for run, row in rows_of(s.faces()):
        if pd.isna(row.published_M) or (row.method == "switchable" and run.selection == "nn"):
            continue
        ours = cells_of(s, run, labels, columns, measure)
        where = {"backbone": run.backbone, "method": row.method if row.M == 1 else None}
        rows.append({"backbone": run.backbone, "method": row.method, "bpp": row.bpp, **ours,
                     **beside(as_printed(ours, printed, labels), name, printed, s.paper, **where)})  # fmt: skip
    notes = [tested_note(s), SEEDS_NOTE]
    if own:
        notes += ["This profile has no five benchmarks. Its columns are protocols of its own, on the same test images; "
                  "published columns stand beside them for orientation only."]  # fmt: skip
        notes += [f"{label}: {what}." for label, what in PROTOCOLS.items()]
        notes += ["mean: over the three."]
    return Table(name, title, pd.DataFrame(rows), notes, digits=4 if measure == "ids" else 2)


def cells_of(
    s: RunSummary, run: Run, labels: list[str], columns: list[dict[str, Any]], measure: str
) -> dict[str, float]:
    """The columns of a run, and their mean, each as mean, _std, _low, _high over seeds."""
    values = [s.measured(run, measure, **where) for where in columns]
    cells: dict[str, float] = {}
    for label, found in zip(labels, values, strict=True):
        cells |= summary_columns(label, found or [nan])
    complete = all(values)
    means = [sum(seed) / len(seed) for seed in zip(*values, strict=True)] if complete else [nan]
    return cells | summary_columns("mean", means)


def other_face_codecs(s: RunSummary) -> Table:
    rows: list[dict[str, Any]] = []
    for printed in published_rows("other_face_codecs").to_dict("records"):
        if "ours" not in printed["method"]:
            rows.append({"method": printed["method"], "published_bpp": printed["bpp"], "published_ids": printed["ids"]})
    for run, row in rows_of(s.faces()):
        if row.method in TOKENIZERS or pd.isna(row.published_M) or (row.M > 1 and run.selection == "nn"):
            continue
        bpp = {1: 0.0234, 256: 0.0157}.get(row.published_M)
        ours = measured(s, run, ["ids"])
        theirs = {}
        if run.backbone == "titok_s" and row.method != "global":
            theirs = beside(ours, "other_face_codecs", ("bpp", "ids"), s.paper, method="titok_s (ours)", bpp=bpp)
        rows.append({"method": f"{run.backbone}, {row.method}", "bpp": row.bpp, **ours, **theirs})
    notes = [
        SEEDS_NOTE,
        "MPDFIC: values that the authors measured on screenshots of that paper's figure; its code is not public, so "
        "it was not run here. JPEG and its successors on the same faces: the table peers.",
    ]
    return Table("other_face_codecs", "Other codecs for faces", pd.DataFrame(rows), notes)
