"""Paired differences of several seeds together, and what entries leave of the latents' variance."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.differences import differences
from benchmarks.generalisation import centres, error, used
from benchmarks.paired import beside_classic, together
from stscq.errors import DataError
from stscq.evaluation.judging import Judgement

MEASURED = {"mean_acc": 90.0, "ids": 0.9, "ids_centred": 0.5, "psnr": 20.0, "file_bytes": 50.0}
PEOPLE = 40


def judgement(seed, right, better=0.0):
    """Two images of each person, a genuine pair and one impostor pair each; rows are the same in every seed."""
    random = np.random.default_rng(seed)
    rows = np.arange(2 * PEOPLE)
    images = pd.DataFrame({"row": rows, "identity": [f"p{row // 2}" for row in rows]})
    for name in ("ids", "ids_centred", "psnr"):
        images[name] = random.normal(size=len(rows)) + better
    a = np.concatenate([rows[::2], rows[::2]])
    b = np.concatenate([rows[1::2], np.roll(rows[1::2], 1)])
    pairs = pd.DataFrame({"a": a, "b": b, "same": [True] * PEOPLE + [False] * PEOPLE, "correct": right})
    return Judgement(images, pairs, pd.DataFrame(), {**MEASURED, "mean_acc": MEASURED["mean_acc"] + seed})


def test_seeds_together_are_all_pairs_and_the_mean_of_what_was_measured():
    both = together([judgement(1, True), judgement(2, False)])
    assert len(both.pairs) == 4 * PEOPLE
    assert len(both.images) == 4 * PEOPLE
    assert both.measured["mean_acc"] == 91.5
    found = differences(both, together([judgement(1, False), judgement(2, False)]))
    assert found["accuracy_percent"].difference == pytest.approx(50)  # right in one seed of two


def test_a_person_whom_two_seeds_test_is_one_person():
    """The same seed twice says no more than once: the interval stays."""
    one, other = judgement(1, True, better=0.1), judgement(3, True)
    once = differences(one, other)["ids"]
    twice = differences(together([one, one]), together([other, other]))["ids"]
    assert twice.difference == pytest.approx(once.difference)
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.1)


def test_other_images_are_refused():
    ours, theirs = judgement(1, True), judgement(1, True)
    with pytest.raises(DataError, match="of other pairs"):
        differences(ours, theirs._replace(pairs=theirs.pairs.iloc[::-1].reset_index(drop=True)))
    with pytest.raises(DataError, match="of other images"):
        differences(ours, theirs._replace(images=theirs.images.iloc[:-1]))


def test_what_classic_codecs_need_for_the_same(tmp_path):
    """98 % halfway between 100 and 400 bytes of one codec, in log bytes; another one is dearer."""
    for codec, factor in (("webp", 1), ("jpeg", 3)):
        common = {"colour": "grey", "side": 16, "seed": 1, "bpp": 1.0, "ids": 0.9, "ids_centred": 0.5, "psnr": 20.0}
        points = [
            {**common, "name": f"{quality}", "quality": quality, "file_bytes": size * factor, "mean_acc": right}
            for quality, size, right in ((1, 100, 97.0), (2, 400, 99.0))
        ]
        found = {"encoder": codec, "smallest_bytes": 50, "smallest_bytes_full_size": 60, "points": points}
        (tmp_path / codec / "test").mkdir(parents=True)
        (tmp_path / codec / "test" / "metrics.json").write_text(json.dumps(found))
    told = beside_classic(tmp_path, "test", [1], {**MEASURED, "mean_acc": 98.0})
    assert told["best classic"] == "webp grey, 200.0 bytes (between)"
    assert told["ours over it"] == pytest.approx(0.25)
    for image_set, seeds in (("test", [1, 2]), ("other", [1])):
        with pytest.raises(DataError, match=f"no classic codecs on {image_set} in seeds"):
            beside_classic(tmp_path, image_set, seeds, MEASURED)


def test_the_error_that_entries_leave():
    z = torch.tensor([[[0.0], [10.0]], [[2.0], [14.0]]])  # two images of two tokens: variance 2 + 8
    assert error(z, torch.tensor([[[0.0], [2.0]], [[10.0], [14.0]]])) == 0
    assert error(z, torch.tensor([[[1.0]], [[12.0]]])) == pytest.approx(100)
    shared = torch.tensor([[[1.0], [10.0]]])
    assert error(z, shared) == pytest.approx(100 * (1 + 1 + 0 + 16) / 10)
    assert used(z, torch.tensor([[[0.0], [2.0]], [[10.0], [99.0]]])) == 1.5


@pytest.mark.parametrize("shared", [False, True])
def test_centres_of_two_clusters(shared):
    random = torch.Generator().manual_seed(0)
    z = torch.randint(0, 2, (60, 3, 1), generator=random) * 5.0 + 0.01 * torch.randn(60, 3, 4, generator=random)
    found = centres(z, 2, shared)
    assert found.shape == (1 if shared else 3, 2, 4)
    assert error(z, found) < 0.1
