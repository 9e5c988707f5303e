"""Do groups of people fare alike?"""

from collections.abc import Iterator
from math import nan
from typing import Any

import pandas as pd

from stscq.evaluation.published import beside, errata
from stscq.evaluation.statistics import Independence, independence
from stscq.evaluation.strangers import AFTER, ETHNIC, GENDERS
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
    for run, row in compared_runs(s):
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


def compared_runs(s: RunSummary) -> Iterator[tuple[Run, Any]]:
    """The runs that stand for published rows, switchable ones by their router."""
    for run, row in rows_of(s.faces()):
        routed = row.method != "switchable" or row.selection == "router"
        if row.method not in TOKENIZERS and not pd.isna(row.published_M) and routed:
            yield run, row


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


PEOPLE = {"ethnicity": list(ETHNIC), "gender": list(GENDERS.values())}
PICTURES_NOTE = (
    "Faces of UTKFace; ethnic groups and genders are its labels. It says nothing about identities: every picture "
    "counts as a person, and pairs that show one person twice as strangers, before compression as after it; only "
    "near-copies of one picture (a cosine above 0.98, uncompressed) count as no match."
)
RATES_NOTE = (
    "Mean over seeds [95 % bootstrap interval over pictures]. ids: mean cosine of the judge's embeddings of a picture "
    "and its reconstruction. fmr: false match rate (%), the share of pairs of different pictures of one ethnic group "
    "and gender that the judge takes for the same person, at one threshold for everybody: that which gives 0.1 % on "
    "the uncompressed pictures, all groups weighing the same, as in a system that goes on as it was. fmr_reset: at the "
    "threshold that gives 0.1 % on these very pictures: only how groups differ is left, as in NIST's reports on "
    "demographic effects (NISTIR 8280), which fix one rate for all and compare groups."
)
SPREAD_NOTE = (
    "_spread: of ids the largest group's less the smallest's; of fmr and fmr_reset log2 of the largest rate over the "
    "smallest (1: twice as many). _spread_vs_original, _spread_vs_one_group: its change against the uncompressed "
    "pictures, and of several codebook groups against the token-specific codec with one, paired [95 %], p two-sided."
)
TEST_NOTE = (
    "Pearson's test of independence of the group of people and the codebook group that the router selected. p_value: "
    "by the chi-square distribution, or by 999 permutations where some expected count is below 5 (p_by). cramers_v: 0 "
    "where the two have nothing to do with each other, 1 where one decides the other; cramers_v_by_chance: its mean "
    "over the permutations. in_use: codebook groups that serve anybody. most_own: of those who are over-represented "
    "most, the codebook group, and the share (%) of them and of all whom it serves. Codebook groups are numbered anew "
    "in each seed."
)


def strangers(s: RunSummary) -> Table:
    """A row a run and measure; empty cells where an optional set is not here."""
    title = "Strangers taken for the same person, and IDS, by ethnic group and gender"
    found = s.frame("strangers.csv")
    if found.empty and not s.absent:
        return Table("strangers", title, pd.DataFrame(), [])
    found = found.fillna({"selection": ""})
    runs = [(ORIGINAL, {"method": "original"})]
    runs += [(run, {"method": row.method, "groups": row.M, "bpp": row.bpp}) for run, row in compared_runs(s)]
    rows = [
        {"backbone": run.backbone, **cells, "measure": measure, **people_cells(of_measure(found, run, measure))}
        for measure in AFTER
        for run, cells in runs
        if (run, measure) != (ORIGINAL, "ids")
    ]
    notes = [*s.absent, RATES_NOTE, SPREAD_NOTE, PICTURES_NOTE]
    return Table("strangers", title, pd.DataFrame(rows), notes, digits=3)


def of_measure(found: pd.DataFrame, run: Run, measure: str) -> pd.DataFrame:
    if found.empty:
        return found
    mine = of_run(found, run)
    return mine[mine.measure == measure]


def people_cells(found: pd.DataFrame) -> dict[str, Any]:
    """Of a run and measure: a column a group of people, then the spread and its changes, by ethnicity and by gender."""
    cells: dict[str, Any] = {}
    for by, people in PEOPLE.items():
        for group in (*people, "spread", "spread_vs_original", "spread_vs_one_group"):
            column = group if group in people else f"{by}_{group}"
            mine = found[(found.by == by) & (found.group == group)] if len(found) else found
            first: dict[Any, Any] = mine.iloc[0].to_dict() if len(mine) else {}
            endings = ("low", "high", "p") if "_vs_" in group else ("low", "high")
            cells |= {column: first.get("value", nan)}
            cells |= {f"{column}_{ending}": first.get(ending, nan) for ending in endings}
    return cells


def served(s: RunSummary) -> Table:
    """Are codebook groups chosen by ethnicity, and by gender? A row a codec, seed and question."""
    title = "Do codebook groups serve some groups of people more than others?"
    counts = s.frame("served.csv")
    several = [(run, row) for run, row in compared_runs(s) if row.M > 1]
    if counts.empty and not s.absent:
        return Table("served", title, pd.DataFrame(), [])
    rows = []
    for run, row in several:
        for seed in s.seeds:
            for by in PEOPLE:
                table = contingency(counts, run, seed, by)
                where = {"backbone": run.backbone, "trained_by": row.training, "groups": row.M, "entries": row.K}
                rows.append({**where, "seed": seed, "people": by, **tested(table)})
    notes = [*s.absent, TEST_NOTE, PICTURES_NOTE]
    return Table("served", title, pd.DataFrame(rows), notes, digits=3)


def contingency(counts: pd.DataFrame, run: Run, seed: int, by: str) -> pd.DataFrame:
    """Pictures by group of people (rows) and codebook group (columns, those in use); empty where there are none."""
    if counts.empty:
        return counts
    mine = of_run(counts, run)
    mine = mine[(mine.seed == seed) & (mine.by == by)]
    table = mine.pivot_table(index="people", columns="codebook_group", values="images", aggfunc="sum", fill_value=0)
    return table.reindex([people for people in PEOPLE[by] if people in table.index])


def tested(table: pd.DataFrame) -> dict[str, Any]:
    found = Independence(nan, 0, nan, nan, "", nan, nan) if table.empty else independence(table.to_numpy())
    return {
        "pictures": None if table.empty else int(table.to_numpy().sum()),
        "in_use": None if table.empty else table.shape[1],
        "chi2": found.chi2,
        "dof": found.dof or None,
        "p_value": found.p,
        "p_by": found.by,
        "cramers_v": found.cramers_v,
        "cramers_v_by_chance": found.by_chance,
        "most_own": "" if table.empty else most_own(table),
    }


def most_own(table: pd.DataFrame) -> str:
    """Such as: Asian: group 9, 31 % (all: 8 %)."""
    shares = 100 * table.div(table.sum(axis=1), axis=0)
    everybody = 100 * table.sum() / table.to_numpy().sum()
    people, group = (shares - everybody).stack().idxmax()
    return f"{people}: group {group}, {shares.loc[people, group]:.0f} % (all: {everybody[group]:.0f} %)"


def served_counts(s: RunSummary) -> Table:
    """The contingency tables themselves: pictures by codebook group (rows) and group of people."""
    title = "Pictures that each codebook group serves, by ethnic group and gender"
    counts = s.frame("served.csv")
    if counts.empty:
        frame = pd.DataFrame({"backbone": ["none"]}) if s.absent else pd.DataFrame()
        return Table("served_counts", title, frame, s.absent)
    frames = []
    for run, row in compared_runs(s):
        mine = of_run(counts, run)
        if len(mine):
            table = mine.pivot_table(
                index=["seed", "codebook_group"], columns="people", values="images", aggfunc="sum", fill_value=0
            ).reset_index()
            for place, (name, value) in enumerate(
                {"backbone": run.backbone, "groups": row.M, "entries": row.K}.items()
            ):
                table.insert(place, name, value)
            frames.append(table)
    frame = pd.concat(frames, ignore_index=True).rename_axis(columns=None)
    people = [name for names in PEOPLE.values() for name in names if name in frame]
    keys = ["backbone", "groups", "entries", "seed", "codebook_group"]
    return Table("served_counts", title, frame[[*keys, *people]].fillna(0).astype(dict.fromkeys(people, int)),
                 [PICTURES_NOTE])  # fmt: skip
