"""The ceiling at full size: the pairs of the evaluation, on LFW's own pictures instead of the store's."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage import data

from stscq.data.store import Face, Row, write_store
from stscq.errors import DataError
from stscq.evaluation import full_size
from stscq.evaluation.verification import judge_pairs

PEOPLE = ["Ann", "Bob", "Cyd", "Dan"]


class Tint:
    """Tells people by the ratio of red to blue, and notes the sizes that it was shown."""

    def __init__(self):
        self.sizes = set()

    def embed(self, images):
        self.sizes.add(images.shape[1:])
        tints = images.mean((1, 2))[:, [0, 2]].astype(np.float32)
        return tints / np.linalg.norm(tints, axis=1, keepdims=True)


@pytest.fixture
def lfw(tmp_path):
    """Two pictures of each of four people, told apart by their tint; the store's images are all the same."""
    photo = Image.fromarray(data.astronaut()[:250, 100:350])
    faces = []
    for n, person in enumerate(PEOPLE):
        (tmp_path / "home" / "lfw_funneled" / person).mkdir(parents=True)
        for number in (1, 2):
            tinted = (np.asarray(photo) * [1 - 0.2 * n, 1, 0.3 + 0.2 * n]).astype(np.uint8)
            name = f"lfw_funneled/{person}/{person}_{number:04}.jpg"
            Image.fromarray(tinted).save(tmp_path / "home" / name, quality=95)
            faces.append(Face(Row(f"{person}/{number}", person, name), np.full((16, 16, 3), 9, np.uint8)))
    write_store(iter(faces), tmp_path / "store")
    genuine = [(2 * n, 2 * n + 1, True, n % 2) for n in range(4)]
    impostors = [(0, 4, False, 0), (2, 6, False, 1), (1, 5, False, 0), (3, 7, False, 1)]
    pairs = pd.DataFrame(genuine + impostors, columns=["a", "b", "same", "fold"]).assign(protocol="published")
    for seed, part in ((1, pairs), (2, pairs[pairs.a != 0])):
        (tmp_path / "originals" / f"seed{seed}").mkdir(parents=True)
        part.to_parquet(tmp_path / "originals" / f"seed{seed}" / "pairs.parquet")
    return tmp_path


def measure(lfw):
    full_size.main(lfw / "home", lfw / "store", lfw / "originals", "[1, 2]", "dlib", lfw / "out")
    return json.loads((lfw / "out" / "metrics.json").read_text())


def test_pairs_are_judged_on_the_pictures_at_150_pixels(lfw, monkeypatch):
    tint = Tint()
    monkeypatch.setattr(full_size, "load_recogniser", lambda name: tint)
    found = measure(lfw)
    assert tint.sizes == {(150, 150, 3)}
    assert (found["pixels"], found["images"]) == (150, 8)
    assert found["seeds"] == {"1": {"mean_acc": 100.0, "pairs": 8}, "2": {"mean_acc": 100.0, "pairs": 6}}
    # Not by chance: the images of the store, which are all alike, would not do.
    alike = np.ones((8, 1), np.float32)
    pairs = pd.read_parquet(lfw / "originals" / "seed1" / "pairs.parquet")
    assert judge_pairs(alike, pairs).correct.mean() == 0.5


def test_a_picture_that_is_gone_is_named(lfw, monkeypatch):
    monkeypatch.setattr(full_size, "load_recogniser", lambda name: Tint())
    (lfw / "home" / "lfw_funneled" / "Cyd" / "Cyd_0002.jpg").unlink()
    with pytest.raises(DataError, match=r"no picture Cyd/2, which the image store has"):
        measure(lfw)
