"""What the paper asserts, tested on the numbers of this run: a row a claim, and below it a row for each of its parts.

A claim holds when all of its parts do. A part that needs a difference holds when the whole 95 % interval lies on the
claimed side; one that needs a likeness, when the whole interval lies inside the stated margin.
"""

from collections.abc import Callable, Sequence
from math import nan
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from stscq.evaluation.published import blocks
from stscq.evaluation.statistics import summarise
from stscq.report.collect import Run
from stscq.report.render import Table
from stscq.report.summary import RunSummary, of_run, run_of, spread_over
from stscq.report.tables.cells import rows_of
from stscq.report.tables.codebooks import sweep_runs

Verdict = Literal["holds", "does not hold", "not testable here"]
ROUTER_MARGIN = 0.4
"""Points of accuracy (paper)."""
SEED_STD = 0.14
"""Points of accuracy (paper)."""
SPREAD_MARGIN = 1.0
"""Points (ours: the paper says "about" and prints changes of +0.52 and -0.62)."""


class Part(NamedTuple):
    """statistic: what value, low, high and p are of; why: how the verdict follows."""

    where: str
    statistic: str
    value: float
    low: float
    high: float
    p: float
    verdict: Verdict
    why: str


def claims(s: RunSummary) -> Table:
    """One row a claim of published.yaml, then its parts."""
    rows: list[dict[str, Any]] = []
    for number, (text, test) in enumerate(zip(blocks()["claims"], TESTS, strict=True), start=1):
        parts = test(s)
        holding = sum(part.verdict == "holds" for part in parts)
        why = f"{holding} of {len(parts)} parts hold" if parts else "no such runs in this profile"
        rows.append(
            {"number": number, "claim": text, "where": "", "statistic": "", "verdict": overall(parts), "why": why}
        )
        rows += [{"number": number, "claim": "", **part._asdict()} for part in parts]
    columns = ["number", "claim", "where", "statistic", "value", "low", "high", "p", "verdict", "why"]
    notes = [
        "Differences between runs: paired bootstrap over people, 95 % interval, p two-sided. Differences that are one "
        "number a seed (utilisation): paired t over seeds. A difference that the run cannot tell from 0 does not hold "
        "here; that is not evidence for the contrary unless the interval says so.",
    ]
    return Table(
        "claims", "What the paper claims, tested on this run", pd.DataFrame(rows, columns=columns), notes, digits=3
    )


def overall(parts: Sequence[Part]) -> Verdict:
    verdicts = {part.verdict for part in parts}
    if not parts or ("not testable here" in verdicts and verdicts <= {"not testable here", "holds"}):
        return "not testable here"
    return "holds" if verdicts == {"holds"} else "does not hold"


def above(where: str, statistic: str, found: dict[str, float] | None, sign: int = 1) -> Part:
    """A difference that should be above 0 (sign 1) or below (-1)."""
    if found is None:
        return Part(where, statistic, nan, nan, nan, nan, "not testable here", "no such run in this profile")
    low, high = sorted((sign * found["low"], sign * found["high"]))
    verdict: Verdict
    if low > 0:
        verdict, why = "holds", "the interval is on the claimed side of 0"
    elif high < 0:
        verdict, why = "does not hold", "the interval is on the other side of 0"
    else:
        verdict, why = "does not hold", "not shown: the interval contains 0"
    return Part(where, statistic, found["difference"], found["low"], found["high"], found["p"], verdict, why)


def within(where: str, statistic: str, found: dict[str, float] | None, margin: float) -> Part:
    """A difference that should be no larger than `margin`, either way."""
    if found is None:
        return Part(where, statistic, nan, nan, nan, nan, "not testable here", "no such run in this profile")
    inside = -margin < found["low"] and found["high"] < margin
    outside = found["low"] > margin or found["high"] < -margin
    why = f"the interval is {'inside' if inside else 'outside' if outside else 'not inside'} ± {margin}"
    verdict: Verdict = "holds" if inside else "does not hold"
    return Part(where, statistic, found["difference"], found["low"], found["high"], found["p"], verdict, why)


def over_seeds(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float] | None:
    """Paired difference of one number a seed, its 95 % interval and p by Student's t; None below two seeds."""
    from scipy import special  # imported here: a fifth of a second that one table needs, and all tables import this

    s = summarise(np.subtract(ours, theirs))
    if s.n < 2:
        return None
    p = float(2 * special.stdtr(s.n - 1, -abs(s.mean) / (s.std / s.n**0.5))) if s.std else float(s.mean == 0)
    return {"difference": s.mean, "low": s.low, "high": s.high, "p": p}


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
        for measure in ("mean_acc", "ids")
    ]


def fewer_bits_and_still_better(s: RunSummary) -> list[Part]:
    parts = []
    for run, row in rows_of(full_size(s, "switchable")):
        if run.backbone == "maskgit_vqgan":
            faces = s.faces()
            baseline = faces[(faces.backbone == run.backbone) & (faces.method == "global")].iloc[0]
            fewer = 100 * (1 - row.bits / baseline.bits)
            what = f"mean_acc at {fewer:.1f} % fewer bits, switchable (nn) less compute-matched global"
            parts.append(above(f"{run.backbone}, {row.M} x {row.K}", what, s.compared(run, "global", "mean_acc")))
    return parts


def routing_uses_the_codebooks(s: RunSummary) -> list[Part]:
    faces = s.faces()
    parts = []
    for run, row in rows_of(faces[(faces.training == "router") & (faces.selection == "nn")]):
        by_nn = faces[
            (faces.training == "nn") & (faces.backbone == run.backbone) & (faces.M == row.M) & (faces.K == row.K)
        ]
        if row.M > 1 and len(by_nn):
            other = run_of(next(by_nn.itertuples()))
            for measure, name in (
                ("utilisation_merged", "entries used, tokens merged"),
                ("groups_used", "groups used"),
            ):
                ours, theirs = ([100 * v for v in s.measured(r, measure)] for r in (run, other))
                statistic = f"{name} (%), router training less nn training"
                parts.append(above(f"{run.backbone}, {row.M} x {row.K}", statistic, over_seeds(ours, theirs)))
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
        parts.append(above(run.backbone, statistic, over_seeds(spreads(run), spreads(other)), sign=-1))
    return parts


def seeds_agree(s: RunSummary) -> list[Part]:
    from scipy import special

    parts = []
    for method in ("token_specific", "switchable"):
        for run, row in rows_of(full_size(s, method)):
            values = s.measured(run, "mean_acc")
            n = len(values)
            statistic, where = "std of mean_acc over seeds (points)", f"{run.backbone}, {row.M} x {row.K}"
            if n < 2:
                parts.append(Part(where, statistic, nan, nan, nan, nan, "not testable here", "one seed"))
                continue
            std = float(np.std(values, ddof=1))
            low, high = (std * ((n - 1) / float(special.chdtri(n - 1, 1 - q))) ** 0.5 for q in (0.975, 0.025))
            verdict: Verdict = "holds" if std <= SEED_STD else "does not hold"
            why = f"{std:.2f} against {SEED_STD}; interval by chi-square"
            parts.append(Part(where, statistic, std, low, high, nan, verdict, why))
    return parts


def groups_help_then_hurt(s: RunSummary) -> list[Part]:
    """By the number of groups whose accuracy is best: better than one group, and than the most groups."""
    parts = []
    for (backbone, K), sweep in sweep_runs(s).groupby(["backbone", "K"]):
        if sweep.M.nunique() < 3:
            continue
        accuracy = {row.M: float(np.mean(s.measured(run, "mean_acc"))) for run, row in rows_of(sweep)}
        best = max(accuracy, key=lambda M: accuracy[M])
        run = run_of(next(sweep[best == sweep.M].itertuples()))
        for reference, name, end in (
            ("one_group", "M = 1", min(accuracy)),
            ("most_groups", f"M = {max(accuracy)}", max(accuracy)),
        ):
            where, statistic = f"{backbone}, K = {K}", f"mean_acc, best M = {best} less {name}"
            if best == end:
                why = f"the best number of groups is {'one' if end == 1 else 'the largest tried'}"
                parts.append(Part(where, statistic, 0.0, nan, nan, nan, "does not hold", why))
            else:
                parts.append(above(where, statistic, s.compared(run, reference, "mean_acc")))
    return parts


def groups_stay_alike(s: RunSummary) -> list[Part]:
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
    """None: it needs switchable token-shared codebooks (M > 1, one for all tokens), which no profile trains yet."""
    return []


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
