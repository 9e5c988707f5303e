"""Means over seeds, and paired comparisons over people. Axes: n seeds, P people, R bootstrap draws."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd


class SeedStatistics(NamedTuple):
    """std is the sample's (n - 1); [low, high] the 95 % interval of the mean by Student's t (NaN below two seeds)."""

    mean: float
    std: float
    low: float
    high: float
    n: int


def summarise(values: np.ndarray) -> SeedStatistics:
    """Mean, spread and interval of one number a seed."""
    from scipy import special  # imported here: a fifth of a second that most who import this module do not need

    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return SeedStatistics(mean, np.nan, np.nan, np.nan, n)
    std = float(np.std(values, ddof=1))
    half = float(special.stdtrit(n - 1, 0.975)) * std / np.sqrt(n)
    return SeedStatistics(mean, std, mean - half, mean + half, n)


class Paired(NamedTuple):
    """Mean difference, its 95 % bootstrap interval, the two-sided p-value of "no difference", and how many people."""

    difference: float
    low: float
    high: float
    p: float
    people: int


def person_weights(people: np.ndarray, draws: int, seed: int) -> pd.DataFrame:
    """R x P: how often each person occurs in each resample of the people, with replacement."""
    return pd.DataFrame(resamples(len(people), draws, seed), columns=people)


@lru_cache(maxsize=2)
def resamples(P: int, draws: int, seed: int) -> np.ndarray:
    """R x P counts, not to be written to. Kept: a run compares hundreds of times with the same people."""
    counts = np.random.default_rng(seed).multinomial(P, np.full(P, 1 / P), size=draws)
    counts.flags.writeable = False
    return counts


def paired_bootstrap(difference: pd.DataFrame, draws: int = 2000, seed: int = 0) -> Paired:
    """Resample people, not images: a person's images, in all seeds, come and go together.

    difference: columns value (method minus baseline on one image or pair), first and second (the people on it; the
    same one twice for an image or a genuine pair), stratum, and weight. An impostor pair counts as often as the product
    of its two people. The mean is weighted; every stratum (such as the impostor pairs of a set) keeps its share of it
    in every resample, since a person drawn twice makes no impostor pair with himself.
    The p-value is the doubled share of draws on the far side of zero, never below 2 / (R + 1).
    """
    people = np.unique(difference[["first", "second"]].to_numpy().ravel())
    weights = resamples(len(people), draws, seed)
    position = {person: i for i, person in enumerate(people)}
    means = np.zeros(draws)
    for _, part in difference.groupby("stratum"):
        share = part.weight.sum() / difference.weight.sum()
        means += share * resampled_means(part, position, weights)
    mean = float(np.average(difference.value.to_numpy(float), weights=difference.weight.to_numpy(float)))
    return Paired(mean, *low_high_p(means), len(people))


def low_high_p(draws: np.ndarray) -> tuple[float, float, float]:
    """95 % interval of R bootstrap draws of a statistic, and the two-sided p-value of 0. Draws of which it is undefined
    (NaN) count for nothing."""
    draws = draws[~np.isnan(draws)]
    if not len(draws):
        return np.nan, np.nan, np.nan
    low, high = np.quantile(draws, [0.025, 0.975])
    tail = min((draws <= 0).sum(), (draws >= 0).sum())
    return float(low), float(high), float(min(1.0, 2 * (tail + 1) / (len(draws) + 1)))


def resampled_means(part: pd.DataFrame, position: Mapping[Any, int], weights: np.ndarray) -> np.ndarray:
    """Weighted mean of `part` in each resample (weights: R x P): R numbers. position: the column of each person."""
    # Only sums a pair of people matter: cells of a P x P table instead of thousands of rows.
    weight = part.weight.to_numpy(float)
    a, b = (part[side].map(position).to_numpy() for side in ("first", "second"))
    cells = pd.DataFrame({"a": a, "b": b, "sum": weight * part.value.to_numpy(float), "weight": weight})
    table = cells.groupby(["a", "b"]).sum().reset_index()
    columns = [table[name].to_numpy() for name in ("a", "b", "sum", "weight")]
    blocks = np.array_split(weights, max(1, weights.shape[0] * len(table) // CELLS))
    return np.concatenate([weighted_means(drawn, *columns) for drawn in blocks])


CELLS = 1 << 24
"""Numbers held at once by the bootstrap: benchmarks have tens of thousands of people."""


def weighted_means(drawn: np.ndarray, a: np.ndarray, b: np.ndarray, sums: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """r weighted means, one a draw (r x P: how often each person occurs); a, b, sums, weight: pairs of people."""
    times = drawn[:, a].astype(float)
    two = a != b
    times[:, two] *= drawn[:, b[two]]
    return (times @ sums) / np.maximum(times @ weight, 1e-12)


class Independence(NamedTuple):
    """Is a table of counts what chance makes of its row and column sums? NaN where there is one row or column.

    chi2: Pearson's, with dof degrees of freedom. least: the smallest expected count. p: by the chi-square distribution
    where that is 5 or more, else by permutation (by: which). cramers_v: from 0 to 1; by_chance: its mean in
    permutations.
    """

    chi2: float
    dof: int
    least: float
    p: float
    by: str
    cramers_v: float
    by_chance: float


def independence(counts: np.ndarray, draws: int = 999, seed: int = 0) -> Independence:
    """Of a table of two dimensions; rows and columns without a count are left out."""
    from scipy import stats  # imported here: half a second that one table and one figure need

    counts = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    if min(counts.shape) < 2:
        return Independence(np.nan, 0, np.nan, np.nan, "", np.nan, np.nan)
    tested = stats.chi2_contingency(counts, correction=False)
    expected = tested.expected_freq
    drawn = stats.random_table(counts.sum(1), counts.sum(0), seed=seed).rvs(draws)
    by_chance = ((drawn - expected) ** 2 / expected).sum((1, 2))
    largest = counts.sum() * (min(counts.shape) - 1)
    small = expected.min() < 5
    permuted = (1 + (by_chance >= tested.statistic * (1 - 1e-9)).sum()) / (draws + 1)
    return Independence(
        chi2=float(tested.statistic),
        dof=int(tested.dof),
        least=float(expected.min()),
        p=float(permuted if small else tested.pvalue),
        by="permutation" if small else "chi-square",
        cramers_v=float(np.sqrt(tested.statistic / largest)),
        by_chance=float(np.sqrt(by_chance / largest).mean()),
    )
