"""Verification pairs: those that a set brings, or all genuine ones and as many impostors in folds that share no people.

A table of pairs has the columns a, b (rows of the image store), same (bool) and fold (0, 1, ..).
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from stscq.errors import DataError
from stscq.files import atomically


def make_pairs(index: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """Columns a, b (rows of `index`), same (bool) and fold (0 .. folds - 1).

    Both people of an impostor pair belong to the same fold, so a fold needs two people. Where a fold has fewer
    impostor pairs than genuine ones (people with very unequal numbers of images), genuine pairs are left out at random.
    Raises DataError when there are fewer than two people a fold.
    """
    people = sorted(index.identity.unique())
    if len(people) < 2 * folds:
        raise DataError(f"{len(people)} people cannot fill {folds} folds of two; lower data.folds in params.yaml")
    random = np.random.default_rng(seed)
    random.shuffle(people)
    rows = {person: index.index[index.identity == person].to_list() for person in people}
    frames = []
    for fold in range(folds):
        members = people[fold::folds]
        genuine = [pair for person in members for pair in combinations(rows[person], 2)]
        impostors = [(a, b) for p, q in combinations(members, 2) for a in rows[p] for b in rows[q]]
        n = min(len(genuine), len(impostors))
        for pairs, same in ((genuine, True), (impostors, False)):
            drawn = np.sort(random.choice(len(pairs), n, replace=False))
            frames.append(pd.DataFrame([pairs[i] for i in drawn], columns=["a", "b"]).assign(same=same, fold=fold))
    return pd.concat(frames, ignore_index=True)


def pair_table(a: ArrayLike, b: ArrayLike, same: ArrayLike, fold: ArrayLike) -> pd.DataFrame:
    """A table of pairs from its columns; empty ones have the same types."""
    columns = {"a": (a, np.int64), "b": (b, np.int64), "same": (same, bool), "fold": (fold, np.int64)}
    return pd.DataFrame({name: np.asarray(values, kind) for name, (values, kind) in columns.items()})


def consecutive_folds(pairs: int, folds: int) -> np.ndarray:
    """The fold of each pair when the folds follow one another: 0 .. 0, 1 .. 1, ..

    Raises DataError when there are fewer pairs than folds.
    """
    if folds > pairs:
        raise DataError(f"{pairs} pairs cannot fill {folds} folds")
    return np.concatenate([np.full(len(part), k) for k, part in enumerate(np.array_split(np.arange(pairs), folds))])


def write_pairs(table: pd.DataFrame, store: Path) -> None:
    """Write STORE/pairs.parquet; it appears there only when complete."""
    with atomically(store / "pairs.parquet") as partial:
        table.to_parquet(partial)
