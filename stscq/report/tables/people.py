"""Do groups of people fare alike?"""

from typing import Any

import pandas as pd

from stscq.evaluation.published import beside, errata
from stscq.params import TOKENIZERS
from stscq.report.collect import Run
from stscq.report.fairness import ORIGINAL, RATES
from stscq.report.render import Table, summary_columns
from stscq.report.summary import RunSummary, of_run
from stscq.report.tables.cells import SEEDS_NOTE, rows_of

GROUPS_NOTE = {
    "eyeglasses": "Groups: people who wear eyeglasses in at least half of their photos, and the others; labelled by "
    "looking at all photos (stscq/data/orl_groups.csv). No guesses about ethnicity were made.",
    "african": "Groups: the four of RFW, as its authors name them.",
}


def fairness(s: RunSummary) -> Table:
    found = s.frame("fairness.csv")
    if found.empty:  # fairness_on in params.yaml names no set whose people carry labels
        return Table("fairness", "Groups of people before and after compression", pd.DataFrame(), [])
    found = found.fillna({"selection": ""})
    groups = sorted(set(found.group) - {"spread"})
    rows = [fairness_row(found, ORIGINAL, groups, {"method": "original"})]
    for run, row in rows_of(s.faces()):
        if (
            row.method in TOKENIZERS
            or pd.isna(row.published_M)
            or (row.method == "switchable" and row.selection == "nn")
        ):
            continue
        cells = {"method": row.method, "groups": row.M, "bpp": row.bpp}
        rows.append(fairness_row(found, run, groups, cells) | published_cells(row, groups))
    notes = [
        SEEDS_NOTE,
        "GROUP_mean_acc, _fmr, _fnmr: accuracy, false match and false non-match rate in %, at the one threshold that "
        "is best for all groups together; pairs inside the group. spread: population standard deviation of the "
        "groups' accuracies, in points [95 % bootstrap interval over people]; spread_vs_original: its change against "
        "the uncompressed images [95 %], p two-sided. With few people a spread is never near 0 by chance alone: look "
        "at the change.",
        *[note for group, note in GROUPS_NOTE.items() if group in groups],
        *errata("fairness"),
    ]
    return Table("fairness", "Groups of people before and after compression", pd.DataFrame(rows), notes)


def fairness_row(found: pd.DataFrame, run: Run, groups: list[str], cells: dict[str, Any]) -> dict[str, Any]:
    """Rates of a run in each group of people, mean over seeds; and their spread over the groups."""
    mine = of_run(found, run)
    row: dict[str, Any] = {"backbone": run.backbone, **cells}
    for measure in (*RATES, "ids"):
        for group in groups:
            values = mine[(mine.group == group) & (mine.measure == measure)].value
            row |= summary_columns(f"{group}_{measure}", list(values) or [float("nan")])
    for column, measure in (("spread", "mean_acc"), ("spread_vs_original", "mean_acc_change")):
        spread = mine[(mine.group == "spread") & (mine.measure == measure)]
        first: dict[Any, Any] = spread.iloc[0].to_dict() if len(spread) else {}
        row |= {column: first.get("value"), f"{column}_low": first.get("low"), f"{column}_high": first.get("high")}
        if measure == "mean_acc_change":
            row[f"{column}_p"] = first.get("p")
    return row


def published_cells(row: Any, groups: list[str]) -> dict[str, Any]:
    """The published numbers of RFW's groups; empty cells beside groups of another kind."""
    printed = [*groups, "mean_acc", "std", "ids"] if "african" in groups else ["mean_acc", "std", "ids"]
    M = row.published_M if (row.method != "global" and row.training != "nn") or row.M == 1 else None
    where = {"groups": None if row.method == "global" else M}
    return beside({}, "fairness", printed, False, backbone=row.backbone, **where)
