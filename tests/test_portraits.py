"""Faces that may be passed on: who they are, and what the codecs make of them."""

import numpy as np

from stscq.codec.api import Codec
from stscq.data import portraits as shown
from stscq.data.store import open_store
from stscq.evaluation import portraits
from tests.codec.conftest import SIZE, VARIANTS, make_bundle


def test_portraits_go_through_the_codec(tmp_path):
    shown.main(SIZE, tmp_path / "store")
    images, index = open_store(tmp_path / "store")
    assert index.identity.tolist() == ["astronaut", *shown.PEOPLE]
    colour = np.ptp(images.astype(int), axis=3).max((1, 2))
    assert colour[0] > 50  # Eileen Collins's suit is orange
    assert (colour[1:] == 0).all()
    bundle = make_bundle(tmp_path / "switchable", faces_like(images), *VARIANTS["switchable"])
    portraits.main(tmp_path / "store", bundle, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as found:
        assert np.array_equal(found["original"], images)
        codec = Codec.load(bundle)
        assert np.array_equal(found["decoded"], codec.decode(codec.encode(images, "nn")))


def faces_like(images):
    """400 of them, for the statistics of a bundle."""
    return np.tile(images, (50, 1, 1, 1))
