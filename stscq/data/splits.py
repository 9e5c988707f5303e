"""Who trains, who is kept for tuning, and who is tested: people never change sides within a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from stscq.errors import DataError

if TYPE_CHECKING:  # as in stscq.data.store
    import pandas as pd

TESTED_FOLDS = {1: (5, 6, 7, 8, 9), 2: (0, 1, 2, 3, 4), 3: (0, 2, 4, 6, 8)}
"""Seed -> the folds of a set's own pairs whose people it tests; seeds 1 and 2 between them test every pair."""
Side = Literal["test", "val"]
"""Who is evaluated: the test people, or, while tuning, the validation people."""


def split_people(
    index: pd.DataFrame, test_people: int, val_people: Sequence[str], seed: int, side: Side
) -> pd.DataFrame:
    """The index with a column `split`: train, val or test, disjoint in people.

    `val_people` are the same for every seed and are never tested, so that nobody who was tuned on is tested. With
    `side` val they are held out; with test, when all tuning is done, they train. Test people have two or more images.
    Raises DataError when there are too few people, or when one of `val_people` is unknown.
    """
    images = index.identity.value_counts()
    unknown = set(val_people) - set(images.index)
    if unknown:
        raise DataError(f"data.val_people: no images of {', '.join(sorted(unknown))}; correct the names in params.yaml")
    people = sorted(set(images.index) - set(val_people))
    random = np.random.default_rng(seed)
    random.shuffle(people)
    test = [person for person in people if images[person] >= 2][:test_people]
    others = [person for person in people if person not in set(test)]
    if len(test) < test_people or len(others) < 2:
        raise DataError(
            f"data.test_people: {len(people)} people besides val_people are too few for {test_people} test people with "
            "two or more images each and two to train on; lower it in params.yaml"
        )
    sides = dict.fromkeys(test, "test") | (dict.fromkeys(val_people, "val") if side == "val" else {})
    return index.assign(split=index.identity.map(sides).fillna("train"))


def split_by_pairs(
    index: pd.DataFrame, pairs: pd.DataFrame, val_people: int, seed: int, side: Side
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same for a set that brings pairs in folds without common people (LFW), and the pairs that this seed tests.

    Half of the folds are tested (`folds_of_seed`), and whoever is in none of their pairs trains. Of the people tested,
    pictures that are in no pair are `unused`. Validation people, the same for every seed, are in no pair of any fold:
    those with most pictures first, then by name. Raises DataError when they are too few.
    """
    tested = pairs[pairs.fold.isin(folds_of_seed(seed, pairs.fold.nunique()))].reset_index(drop=True)
    in_pairs = set(index.identity[np.unique(tested[["a", "b"]])])
    split = index.identity.isin(in_pairs).map({True: "unused", False: "train"})
    split[np.unique(tested[["a", "b"]])] = "test"
    if side == "val":
        split[index.identity.isin(people_in_no_pair(index, pairs, val_people))] = "val"
    return index.assign(split=split), tested


def folds_of_seed(seed: int, folds: int) -> tuple[int, ...]:
    """Half of the folds: fixed for the first three seeds of ten folds, drawn for others."""
    if folds == 10 and seed in TESTED_FOLDS:
        return TESTED_FOLDS[seed]
    return tuple(sorted(np.random.default_rng(seed).permutation(folds)[: folds // 2].tolist()))


def people_in_no_pair(index: pd.DataFrame, pairs: pd.DataFrame, most: int) -> list[str]:
    """Up to `most` people, those with most pictures first, then by name. Raises DataError when there are fewer."""
    paired = set(index.identity[np.unique(pairs[["a", "b"]])])
    images = index.identity[~index.identity.isin(paired)].value_counts().rename_axis("identity").reset_index()
    people = images.sort_values(["count", "identity"], ascending=[False, True]).identity[:most]
    if len(people) < most:
        raise DataError(f"data.val_people: {len(people)} people are in no pair, {most} wanted; lower it in params.yaml")
    return people.tolist()


def sample_rows(rows: np.ndarray, seed: int, most: int = 2048) -> np.ndarray:
    """Up to `most` of the rows, at random, in order."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])
