"""What several tables share: cells of a run, of its differences, and notes."""

from collections.abc import Iterator, Mapping, Sequence
from math import nan
from typing import Any

import pandas as pd

from stscq.report.collect import IDENTITY, Run
from stscq.report.render import summary_columns
from stscq.report.summary import RunSummary, run_of

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
    "pretrained is the published tokenizer, fine_tuned the same after stage1_tokenizer. global had the same further "
    "training as the rows below it: stages 1 and 2 on its one codebook, stage 3 on its decoder."
)

MARK = "†"
MARK_NOTE = (
    f"{MARK} taught by the judge: the perceptual and identity loss of its stage 3 came from the very recogniser that "
    "judges it. It is outside all claims, means and comparisons, and in no other table; identity_teacher compares it."
)


def rows_of(runs: pd.DataFrame) -> Iterator[tuple[Run, Any]]:
    """Each run with its row of `RunSummary.runs`."""
    for row in runs.itertuples():
        yield run_of(row), row


def measured(s: RunSummary, run: Run, measures: Sequence[str], **where: Any) -> dict[str, float]:
    """Mean over seeds and its interval, as MEASURE, _std, _low, _high; empty cells for what was not measured."""
    columns: dict[str, float] = {}
    for measure in measures:
        columns |= summary_columns(measure, s.measured(run, measure, **where) or [nan])
    return columns


def as_printed(cells: Mapping[str, Any], printed: Sequence[str], sets: Sequence[str]) -> dict[str, Any]:
    """The cells of SETS under the names that the paper prints: agedb_30 is its agedb."""
    return {name: cells.get(next((one for one in sets if one.startswith(name)), name)) for name in printed}


def mean_and_std(name: str, values: Sequence[float]) -> dict[str, float]:
    """NAME and NAME_std of one number a seed, where an interval would crowd the table; empty without values."""
    columns = summary_columns(name, list(values) or [nan])
    return {column: columns[column] for column in (name, f"{name}_std")}


def mean(s: RunSummary, run: Run, measure: str) -> float | None:
    """Mean over seeds alone."""
    values = s.measured(run, measure)
    return sum(values) / len(values) if values else None


def versus(s: RunSummary, run: Run, reference: str, measures: Sequence[str] = IDENTITY) -> dict[str, Any]:
    """Paired differences, as MEASURE_vs_REFERENCE, _low, _high, _p; empty for the reference itself."""
    columns: dict[str, Any] = {}
    for measure in measures:
        found = s.compared(run, reference, measure) or {}
        column = f"{measure}_vs_{reference}"
        columns[column] = found.get("difference")
        columns |= {f"{column}_{ending}": found.get(ending) for ending in ("low", "high", "p")}
    return columns


def reference_rows(s: RunSummary) -> list[dict[str, Any]]:
    """The ceiling, and the floor: the uncompressed images (at full size as well, where that was measured), and one mean
    face for everybody."""
    measures = {"original_full_size": ["mean_acc"], "original": ["mean_acc"], "mean_face": ["ids", "ids_centred"]}
    if not s.measured(FULL_SIZE, "mean_acc"):
        del measures["original_full_size"]
    return [
        {"backbone": "none", "method": method, **measured(s, Run("none", method, ""), names)}
        for method, names in measures.items()
    ]


FULL_SIZE = Run("none", "original_full_size", "")


def tested_note(s: RunSummary) -> str:
    """How many pairs and people stand behind an accuracy."""
    found = []
    for image_set, tested in s.about["tested"].items():
        least, most = min(tested["pairs_by_seed"]), max(tested["pairs_by_seed"])
        each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
        found.append(
            f"{image_set}: {each} pairs a seed; {tested['pairs']:,} different pairs of {tested['people']:,} people "
            f"over {len(tested['pairs_by_seed'])} seed(s)"
        )
    return "Tested on " + "; ".join(found) + "."


def missing_notes(s: RunSummary, measures: Sequence[str]) -> list[str]:
    """Why some cells are empty: measures that need published weights which this run did not have."""
    return [
        f"{name}: empty, because {reason}." for name, reason in sorted(s.about["missing"].items()) if name in measures
    ]


def routed_or_single(row: Any) -> bool:
    """True for a codec without a router, and for one with a router where the router selects the group."""
    return bool(row.selection == "router" or row.M == 1 or row.training == "nn")
