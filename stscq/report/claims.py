"""What the paper asserts, tested on the numbers of this run: a row a claim, and below it a row for each of its parts.

A claim holds when all of its parts do, and is refuted when one of them is. A part that needs a difference holds when
the whole 95 % interval lies on the claimed side, and is refuted when it lies on the other; one that needs a likeness,
when the whole interval lies inside or outside the stated margin. All else is undecided.
"""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from stscq.evaluation.published import blocks
from stscq.report.collect import Run
from stscq.report.render import Table
from stscq.report.summary import RunSummary, of_run, run_of, spread_over
from stscq.report.tables.cells import rows_of, tested_note
from stscq.report.tables.codebooks import sweep_runs
from stscq.report.verdicts import (
    ONE_SEED,
    Part,
    above,
    at_most,
    count_of_verdicts,
    over_seeds,
    overall,
    untestable,
    within,
)

BOTH = ("mean_acc", "ids")
"""Both say whether identity is kept, and the paper prints both of what claims 1 and 8 compare. IDS has by far the
narrower intervals. Claims that name points of accuracy are tested in accuracy alone."""
ROUTER_MARGIN = 0.4
"""Points of accuracy (paper)."""
SEED_STD = 0.14
"""Points of accuracy (paper)."""
SPREAD_MARGIN = 1.0
"""Points (ours: the paper says "about" and prints changes of +0.52 and -0.62)."""
STRANGERS_MARGIN = 1 / 3
"""Of the spread with one codebook group (ours: SPREAD_MARGIN is a third of the paper's 2.87 and 3.22 points)."""


def claims(s: RunSummary) -> Table:
    """One row a claim of published.yaml, then its parts."""
    rows: list[dict[str, Any]] = []
    for number, (text, test) in enumerate(zip(blocks()["claims"], TESTS, strict=True), start=1):
        parts = test(s)
        whole = {"verdict": overall(parts), "why": count_of_verdicts(parts)}
        rows.append({"number": number, "claim": text, "where": "", "statistic": "", **whole})
        rows += [{"number": number, "claim": "", **part._asdict()} for part in parts]
    columns = ["number", "claim", "where", "statistic", "value", "low", "high", "p", "verdict", "why"]
    notes = [
        tested_note(s),
        "Differences between runs: paired bootstrap over people, 95 % interval, p two-sided. Differences that are one "
        "number a seed (utilisation): paired t over seeds. holds: the interval is on the claimed side; refuted: it is "
        "on the other; undecided: it has room for both, and so many people would decide it if the difference stays.",
    ]
    return Table(
        "claims", "What the paper claims, tested on this run", pd.DataFrame(rows, columns=columns), notes, digits=3
    )


def full_size(s: RunSummary, method: str, selection: str = "nn") -> pd.DataFrame:
    """The runs that stand for published rows, trained as in the paper's main tables."""
    faces = s.faces()
    runs = faces[(faces.method == method) & (faces.selection == selection) & faces.published_M.notna()]
    return runs[(runs.M == 1) | (runs.training == "router")]


def token_specific_is_better(s: RunSummary) -> list[Part]:
    return [
        above(
            run.backbone, f"{measure}, token-specific less compute-matched global", s.compared(run, "global", measure)
        )
        for run, _ in rows_of(full_size(s, "token_specific"))
        for measure in BOTH
    ]


def fewer_bits_and_still_better(s: RunSummary) -> list[Part]:
    parts = []
    for run, row in rows_of(full_size(s, "switchable")):
        if run.backbone == "maskgit_vqgan":
            faces, where = s.faces(), f"{run.backbone}, {row.M} x {row.K}"
            baseline = faces[(faces.backbone == run.backbone) & (faces.method == "global")].iloc[0]
            fewer = 100 * (1 - row.bits / baseline.bits)
            what = f"mean_acc at {fewer:.1f} % fewer bits, switchable (nn) less compute-matched global"
            if fewer <= 0:  # groups of codebooks as large as the global one
                reason = f"takes {row.bits:g} bits, the global codebook {baseline.bits:g}: none are saved"
                parts.append(untestable(where, "mean_acc at fewer bits", reason))
            else:
                parts.append(above(where, what, s.compared(run, "global", "mean_acc")))
    return parts


def routing_uses_the_codebooks(s: RunSummary) -> list[Part]:
    faces = s.faces()[s.faces().method == "switchable"]
    parts = []
    for run, row in rows_of(faces[(faces.training == "router") & (faces.selection == "nn")]):
        by_nn = faces[
            (faces.training == "nn") & (faces.backbone == run.backbone) & (faces.M == row.M) & (faces.K == row.K)
        ]
        if len(by_nn):
            other = run_of(next(by_nn.itertuples()))
            for measure, name in (
                ("utilisation_merged", "entries used, tokens merged"),
                ("groups_used", "groups used"),
            ):
                ours, theirs = ([100 * v for v in s.measured(r, measure)] for r in (run, other))
                statistic = f"{name} (%), router training less nn training"
                parts.append(
                    above(f"{run.backbone}, {row.M} x {row.K}", statistic, over_seeds(ours, theirs), absent=ONE_SEED)
                )
    return parts


def router_is_as_good(s: RunSummary) -> list[Part]:
    return [
        within(f"{run.backbone}, {row.M} x {row.K}", f"mean_acc, router less nn (one group of {row.M} in memory)",
               s.compared(run, "nn", "mean_acc"), ROUTER_MARGIN)
        for run, row in rows_of(full_size(s, "switchable", "router"))
    ]  # fmt: skip


def utilisation_is_evened_out(s: RunSummary) -> list[Part]:
    tokens = s.frame("utilisation_tokens.parquet")
    tokens = tokens[tokens["set"] == s.sets[0]]

    def spreads(run: Run) -> list[float]:
        return [spread_over(100 * part.share.to_numpy()) for _, part in of_run(tokens, run).groupby("seed")]

    parts = []
    for run, _ in rows_of(full_size(s, "token_specific")):
        baseline = full_size(s, "global")
        other = run_of(next(baseline[baseline.backbone == run.backbone].itertuples()))
        statistic = "std over tokens of utilisation (points), token-specific less global"
        parts.append(above(run.backbone, statistic, over_seeds(spreads(run), spreads(other)), sign=-1, absent=ONE_SEED))
    return parts


def seeds_agree(s: RunSummary) -> list[Part]:
    from scipy import special

    parts = []
    for method in ("token_specific", "switchable"):
        for run, row in rows_of(full_size(s, method)):
            values = s.measured(run, "mean_acc")
            n, found = len(values), None
            if n > 1:
                std = float(np.std(values, ddof=1))
                low, high = (std * ((n - 1) / float(special.chdtri(n - 1, 1 - q))) ** 0.5 for q in (0.975, 0.025))
                found = {"difference": std, "low": low, "high": high}
            where = f"{run.backbone}, {row.M} x {row.K}"
            parts.append(at_most(where, "std of mean_acc over seeds (points)", found, SEED_STD))
    return parts


def groups_help_then_hurt(s: RunSummary) -> list[Part]:
    """By the number of groups between the fewest and the most whose accuracy is best: better than one group, and than
    the most. Where several lie between, the choice favours the claim, which the interval does not know."""
    parts = []
    for (backbone, K), sweep in sweep_runs(s).groupby(["backbone", "K"]):
        accuracy = {row.M: float(np.mean(s.measured(run, "mean_acc"))) for run, row in rows_of(sweep)}
        between = sorted(accuracy)[1:-1]
        if not between:
            continue
        best = max(between, key=accuracy.__getitem__)
        run = run_of(next(sweep[best == sweep.M].itertuples()))
        for measure, (reference, name) in product(BOTH, ends(max(accuracy))):
            statistic = f"{measure}, M = {best} (best of those between) less {name}"
            parts.append(above(f"{backbone}, K = {K}", statistic, s.compared(run, reference, measure)))
    return parts


def ends(most: int) -> list[tuple[str, str]]:
    """What a sweep's best number of groups is compared with, as `comparisons` and readers name it."""
    return [("one_group", "M = 1"), ("most_groups", f"M = {most}")]


def groups_stay_alike(s: RunSummary) -> list[Part]:
    """By pairs of known identity (RFW) and by strangers; by people of no ethnic group only where neither is there."""
    by_accuracy, by_strangers = accuracy_stays_alike(s), strangers_stay_alike(s)
    tested = [part for part in (*by_accuracy, *by_strangers) if part.verdict != "not testable here"]
    return tested or [*by_accuracy, *by_strangers]


def strangers_stay_alike(s: RunSummary) -> list[Part]:
    """IDS and false matches (at one rate for all groups together) of ethnic groups."""
    if s.absent:
        return [untestable("", "spread of IDS and of false matches over ethnic groups", reason) for reason in s.absent]
    found = s.frame("strangers.csv")
    if found.empty:
        return []
    found = found[found.by == "ethnicity"]
    parts = []
    for run, row in rows_of(full_size(s, "switchable")):
        mine = of_run(found, run).set_index(["measure", "group"])
        for measure, name in (
            ("ids", "largest less smallest IDS"),
            ("fmr_reset", "log2 of largest over smallest false match rate"),
        ):
            if (measure, "spread_vs_one_group") in mine.index:
                c, spread = (mine.loc[[(measure, group)]].iloc[0] for group in ("spread_vs_one_group", "spread"))
                before = float(spread["value"] - c["value"])
                margin = round(
                    STRANGERS_MARGIN * before if measure == "ids" else float(np.log2(1 + STRANGERS_MARGIN)), 4
                )
                numbers = {key: float(c[key]) for key in ("low", "high", "p", "people")}
                numbers["difference"] = float(c["value"])
                statistic = f"{measure}: {name} of ethnic groups, {row.M} codebook groups less one"
                parts.append(within(f"{run.backbone}, {row.M} x {row.K}", statistic, numbers, margin))
    return parts


def accuracy_stays_alike(s: RunSummary) -> list[Part]:
    if not s.about["sets"]["fairness"]:
        return []
    found = s.frame("fairness.csv")
    if found.empty:
        return []
    ethnic = "african" in set(found.group)
    parts = []
    for run, row in rows_of(full_size(s, "switchable")):
        mine = of_run(found, run)
        change = mine[mine.measure == "mean_acc_change_by_groups"]
        if change.empty:
            continue
        c = change.iloc[0]
        numbers = {"difference": c["value"], "low": c["low"], "high": c["high"], "p": c["p"]}
        statistic = f"spread of accuracy over groups of people (points), {row.M} codebook groups less one"
        part = within(f"{run.backbone}, {row.M} x {row.K}", statistic, numbers, SPREAD_MARGIN)
        if not ethnic:
            reason = "no labels of ethnic groups in this profile; the numbers are of people with and without eyeglasses"
            part = part._replace(verdict="not testable here", why=reason)
        parts.append(part)
    return parts


def token_shared_groups_help(s: RunSummary) -> list[Part]:
    faces = s.faces()
    faces = faces[faces.selection == "nn"]
    parts = []
    for (run, row), measure in product(rows_of(faces[faces.method == "token_shared"]), BOTH):
        statistic = f"{measure}, switchable token-shared less one codebook of as many entries"
        parts.append(above(f"{run.backbone}, {row.M} x {row.K}", statistic, s.compared(run, "one_shared", measure)))
    for (run, row), measure in product(rows_of(faces[faces.method == "switchable"]), BOTH):
        compared = s.compared(run, "token_shared", measure)
        if compared is not None:
            statistic = f"{measure}, switchable token-specific less token-shared"
            parts.append(above(f"{run.backbone}, {row.M} x {row.K}", statistic, compared))
    return parts


TESTS: list[Callable[[RunSummary], list[Part]]] = [
    token_specific_is_better,
    fewer_bits_and_still_better,
    routing_uses_the_codebooks,
    router_is_as_good,
    utilisation_is_evened_out,
    seeds_agree,
    groups_help_then_hurt,
    token_shared_groups_help,
    groups_stay_alike,
]
"""In the order of `claims` in published.yaml."""
