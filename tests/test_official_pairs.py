"""Splits of a set that brings its own pairs (LFW): nobody trains who is in a tested pair, whatever the seed."""

import json

import numpy as np
import pandas as pd
import pytest

from stscq.data import split
from stscq.data.splits import folds_of_seed, people_in_no_pair, split_by_pairs
from stscq.errors import DataError


def small_set():
    """50 people in the pairs of ten folds, five a fold, three pictures each of which two are paired; 12 in no pair."""
    paired = [(f"p{person:02}", picture) for person in range(50) for picture in range(3)]
    alone = [(f"z{person:02}", picture) for person in range(12) for picture in range(1 + person % 3)]
    index = pd.DataFrame({"identity": [person for person, _ in paired + alone]})
    index["image_id"] = [f"{person}/{picture}" for person, picture in paired + alone]
    genuine = [(3 * p, 3 * p + 1, True, p // 5) for p in range(50)]
    impostors = [(3 * p, 3 * (5 * (p // 5) + (p + 1) % 5) + 1, False, p // 5) for p in range(50)]
    return index, pd.DataFrame(genuine + impostors, columns=["a", "b", "same", "fold"])


@pytest.mark.parametrize("seed", range(12))
def test_nobody_trains_who_is_in_a_tested_pair(seed):
    index, pairs = small_set()
    found, tested = split_by_pairs(index, pairs, 4, seed, "test")
    rows = np.unique(tested[["a", "b"]])
    assert set(found.split[rows]) == {"test"}
    assert not set(found.identity[rows]) & set(found.identity[found.split == "train"])
    assert len(tested) == 50
    assert (found.split == "unused").sum() == 25  # the third pictures of 25 people
    assert set(index.identity) - set(found.identity[rows]) == set(found.identity[found.split == "train"])


def test_the_first_two_seeds_test_every_pair_once():
    folds = [*folds_of_seed(1, 10), *folds_of_seed(2, 10)]
    assert sorted(folds) == list(range(10))
    assert folds_of_seed(3, 10) == (0, 2, 4, 6, 8)
    drawn = {folds_of_seed(seed, 10) for seed in range(4, 10)}
    assert len(drawn) > 3
    assert all(len(folds) == 5 for folds in drawn)


def test_people_for_tuning_are_in_no_pair_of_any_seed():
    index, pairs = small_set()
    people = people_in_no_pair(index, pairs, 6)
    assert people == ["z02", "z05", "z08", "z11", "z01", "z04"]  # three pictures, then two
    for seed in range(1, 6):
        found, _ = split_by_pairs(index, pairs, 6, seed, "val")
        assert set(found.identity[found.split == "val"]) == set(people)
    with pytest.raises(DataError, match=r"data\.val_people: 12 people are in no pair, 13 wanted"):
        people_in_no_pair(index, pairs, 13)


@pytest.fixture
def store(faces, tmp_path):
    """ORL's faces with pairs of their own: people 1 to 20 in ten folds of two."""
    for name in ("images.npy", "index.parquet"):
        (tmp_path / name).symlink_to(faces / name)
    index = pd.read_parquet(faces / "index.parquet")
    first = index[~index.identity.duplicated()].index[:20]
    rows = [(r, r + 1, True, n // 2) for n, r in enumerate(first)]
    rows += [(first[n], first[n + 1], False, n // 2) for n in range(0, 20, 2)]
    pd.DataFrame(rows, columns=["a", "b", "same", "fold"]).to_parquet(tmp_path / "pairs.parquet")
    return tmp_path


@pytest.mark.parametrize(("side", "pairs"), [("test", 15), ("val", 180)])
def test_the_pairs_of_a_side(store, tmp_path, side, pairs):
    split.main(store, 1, "official", "4", side, 2, tmp_path / "out")
    found = pd.read_parquet(tmp_path / "out" / "pairs.parquet")
    index = pd.read_parquet(tmp_path / "out" / "index.parquet")
    assert set(index.split[np.unique(found[["a", "b"]])]) == {side}
    assert len(found) == (pairs if side == "test" else 2 * 4 * 45)
    assert index.identity[index.split == "train"].nunique() == (30 if side == "test" else 26)


def test_a_set_without_pairs_is_named(faces, tmp_path):
    with pytest.raises(DataError, match=r"pairs\.parquet: missing; data\.test_people: official needs a set with pairs"):
        split.main(faces, 1, "official", json.dumps(4), "test", 2, tmp_path / "out")
