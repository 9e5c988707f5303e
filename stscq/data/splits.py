"""Who trains, who is kept for tuning, and who is tested: people never change sides within a seed."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from stscq.errors import DataError

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


def sample_rows(rows: np.ndarray, seed: int, most: int = 2048) -> np.ndarray:
    """Up to `most` of the rows, at random, in order."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])
