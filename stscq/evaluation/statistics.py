"""Means over seeds, and paired comparisons over people. Axes: n seeds, P people, R bootstrap draws."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class Summary(NamedTuple):
    """std is the sample's (n - 1); [low, high] the 95 % interval of the mean by Student's t (NaN below two seeds)."""

    mean: float
    std: float
    low: float
    high: float
    n: int


def summarise(values: np.ndarray) -> Summary:
    """Of one number a seed."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Summary(mean, np.nan, np.nan, np.nan, n)
    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(0.975, n - 1)) * std / np.sqrt(n)
    return Summary(mean, std, mean - half, mean + half, n)


class Paired(NamedTuple):
    """Mean difference, its 95 % bootstrap interval, and the two-sided p-value of "no difference"."""

    difference: float
    low: float
    high: float
    p: float


def person_weights(people: np.ndarray, draws: int, seed: int) -> pd.DataFrame:
    """R x P: how often each person occurs in each resample of the people, with replacement."""
    random = np.random.default_rng(seed)
    counts = random.multinomial(len(people), np.full(len(people), 1 / len(people)), size=draws)
    return pd.DataFrame(counts, columns=people)


def paired_bootstrap(difference: pd.DataFrame, draws: int = 2000, seed: int = 0) -> Paired:
    """Resample people, not images: a person's images, in all seeds, come and go together.

    difference: columns value (method minus baseline on one image or pair), first and second (the people on it; the
    same one twice for an image or a genuine pair). An impostor pair counts as often as the product of its two people.
    The p-value is the doubled share of draws on the far side of zero, never below 1 / (R + 1).
    """
    people = np.unique(difference[["first", "second"]].to_numpy().ravel())
    weights = person_weights(people, draws, seed).to_numpy()
    position = {person: i for i, person in enumerate(people)}
    first = difference["first"].map(position).to_numpy()
    second = difference["second"].map(position).to_numpy()
    # Only sums a pair of people matter: cells of a P x P table instead of thousands of rows.
    cells = pd.DataFrame({"a": first, "b": second, "value": difference.value.to_numpy(float)})
    table = cells.groupby(["a", "b"]).value.agg(["sum", "count"]).reset_index()
    a, b = table.a.to_numpy(), table.b.to_numpy()
    weight = np.where(a == b, weights[:, a], weights[:, a] * weights[:, b])
    means = (weight @ table["sum"].to_numpy()) / np.maximum(weight @ table["count"].to_numpy(), 1)
    low, high = np.quantile(means, [0.025, 0.975])
    tail = min((means <= 0).sum(), (means >= 0).sum())
    p = min(1.0, 2 * (tail + 1) / (draws + 1))
    return Paired(float(difference.value.mean()), float(low), float(high), float(p))
