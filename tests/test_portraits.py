"""Faces that may be passed on: who they are, and what the codecs make of them."""

import json

import numpy as np

from stscq.codec.api import Codec
from stscq.data import portraits as shown
from stscq.data.store import open_store
from stscq.evaluation import portraits
from tests.codec.conftest import SIZE, VARIANTS, make_bundle


def test_portraits_go_through_every_codec(tmp_path):
    shown.main(SIZE, tmp_path / "store")
    images, index = open_store(tmp_path / "store")
    assert index.identity.tolist() == ["astronaut", *shown.PEOPLE]
    colour = np.ptp(images.astype(int), axis=3).max((1, 2))
    assert colour[0] > 50  # Eileen Collins's suit is orange
    assert (colour[1:] == 0).all()
    bundles = {
        name: make_bundle(tmp_path / name, faces_like(images), *VARIANTS[name]) for name in ("global", "switchable")
    }
    portraits.main(
        tmp_path / "store", json.dumps({name: str(folder) for name, folder in bundles.items()}), tmp_path / "x.npz"
    )
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert found.files == ["original", "global", "switchable"]
        assert np.array_equal(found["original"], images)
        codec = Codec.load(bundles["switchable"])
        assert np.array_equal(found["switchable"], codec.decode(codec.encode(images, "nn")))


def faces_like(images):
    """400 of them, for the statistics of a bundle."""
    return np.tile(images, (50, 1, 1, 1))
