"""Does a claim hold? By 95 % intervals; and how many people would decide what is left open."""

from collections.abc import Mapping, Sequence
from math import ceil, inf, isfinite, nan
from typing import Literal, NamedTuple

import numpy as np

from stscq.evaluation.statistics import summarise

Verdict = Literal["holds", "refuted", "undecided", "not testable here"]
"""refuted: the interval lies on the other side; undecided: it has room for both."""


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


def overall(parts: Sequence[Part]) -> Verdict:
    """Of a claim: refuted when one of its parts is, and it holds when all do."""
    verdicts = {part.verdict for part in parts}
    for verdict in ("refuted", "undecided", "not testable here"):
        if verdict in verdicts:
            return verdict
    return "holds" if parts else "not testable here"


def count_of_verdicts(parts: Sequence[Part]) -> str:
    """Such as: 3 of 8 parts hold, 1 refuted, 4 undecided."""
    if not parts:
        return "no such runs in this profile"
    number = {verdict: sum(part.verdict == verdict for part in parts) for verdict in ("holds", "refuted", "undecided")}
    others = [f"{number[verdict]} {verdict}" for verdict in ("refuted", "undecided") if number[verdict]]
    return ", ".join([f"{number['holds']} of {len(parts)} parts hold", *others])


NO_RUN, ONE_SEED = "no such run in this profile", "one seed"
"""Why there is no difference to look at."""


def above(where: str, statistic: str, found: Mapping[str, float] | None, sign: int = 1, absent: str = NO_RUN) -> Part:
    """A difference that should be above 0 (sign 1) or below (-1). absent: why there is none, where there is none."""
    if found is None:
        return untestable(where, statistic, absent)
    low, high = sorted((sign * found["low"], sign * found["high"]))
    verdict: Verdict
    if low > 0:
        verdict, why = "holds", "the interval is on the claimed side of 0"
    elif high < 0:
        verdict, why = "refuted", "the interval is on the other side of 0"
    else:
        verdict, why = "undecided", f"the interval contains 0{deciding(found, abs(found['difference']))}"
    return part_of(where, statistic, found, verdict, why)


def within(where: str, statistic: str, found: Mapping[str, float] | None, margin: float) -> Part:
    """A difference that should be no larger than `margin`, either way."""
    if found is None:
        return untestable(where, statistic)
    low, high = found["low"], found["high"]
    verdict: Verdict
    if -margin < low and high < margin:
        verdict, why = "holds", f"the interval is inside ± {margin}"
    elif low > margin or high < -margin:
        verdict, why = "refuted", f"the interval is outside ± {margin}"
    else:
        needed = deciding(found, abs(margin - abs(found["difference"])))
        verdict, why = "undecided", f"the interval is partly inside ± {margin}{needed}"
    return part_of(where, statistic, found, verdict, why)


def at_most(where: str, statistic: str, found: Mapping[str, float] | None, limit: float) -> Part:
    """A value that should not be above `limit`."""
    if found is None:
        return untestable(where, statistic, ONE_SEED)
    verdict: Verdict = "holds" if found["high"] <= limit else "refuted" if found["low"] > limit else "undecided"
    return part_of(
        where, statistic, found, verdict, f"{found['difference']:.2f} against {limit}; interval by chi-square"
    )


def part_of(where: str, statistic: str, found: Mapping[str, float], verdict: Verdict, why: str) -> Part:
    return Part(where, statistic, found["difference"], found["low"], found["high"], found.get("p", nan), verdict, why)


def untestable(where: str, statistic: str, why: str = NO_RUN) -> Part:
    return Part(where, statistic, nan, nan, nan, nan, "not testable here", why)


def deciding(found: Mapping[str, float], distance: float) -> str:
    """How many people would decide a difference that lies so far from its limit, if it stays what it is.

    The width of an interval falls with the square root of the number of people. Empty where that is not known.
    """
    half = (found["high"] - found["low"]) / 2
    people = found.get("people", nan) * (half / distance) ** 2 if distance else inf
    if not isfinite(people):
        return ""
    if people > 1e6:
        return f"; a million people ({found['people']:.0f} here) would not decide it"
    digits = 10 ** max(0, len(str(int(people))) - 2)
    return f"; with some {ceil(people / digits) * digits} people ({found['people']:.0f} here) it would be decided"


def over_seeds(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float] | None:
    """Paired difference of one number a seed, its 95 % interval and p by Student's t; None below two seeds."""
    from scipy import special  # imported here: a fifth of a second that one table needs, and all tables import this

    s = summarise(np.subtract(ours, theirs))
    if s.n < 2:
        return None
    p = float(2 * special.stdtr(s.n - 1, -abs(s.mean) / (s.std / s.n**0.5))) if s.std else float(s.mean == 0)
    return {"difference": s.mean, "low": s.low, "high": s.high, "p": p}
