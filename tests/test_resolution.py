"""Of the benchmark of larger pictures: tiles, the way back into the photo, and the tokenizer at other sizes."""

import numpy as np
import pytest
from skimage import data

from benchmarks.resolution import from_tiles, global_at, in_tiles, pasted
from stscq.data.align import CHIP, crop
from stscq.data.lfw import centred_box


@pytest.fixture(scope="module")
def photo():
    """Cut as LFW's pictures are: 250 x 250 pixels around a face."""
    return np.ascontiguousarray(data.astronaut()[:250, 100:350])


def test_tiles_are_put_together_again():
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)
    tiles = in_tiles(images, 64)
    assert tiles.shape == (12, 64, 64, 3)
    assert np.array_equal(tiles[4 + 1], images[1, :64, 64:])
    assert np.array_equal(from_tiles(tiles, 128), images)


def test_a_face_is_pasted_where_it_was_cut_out(photo):
    chip = crop(photo, centred_box(photo), CHIP)
    back = pasted(photo, chip)
    changed = (back != photo).any(2)
    assert 0.1 < changed.mean() < 0.9
    assert np.abs(back.astype(float) - photo)[changed].mean() < 4
    black = pasted(photo, np.zeros_like(chip))
    assert black[125, 125].max() == 0
    assert np.array_equal(black[0], photo[0])


@pytest.mark.parametrize("side", [64, 128])
def test_the_tokenizer_takes_larger_pictures(photo, side):
    face = crop(photo, centred_box(photo), side)[None]
    made = global_at(side)(face)
    assert made.shape == face.shape
    assert np.abs(made.astype(float) - face).mean() < np.abs(face - face.mean((1, 2), keepdims=True)).mean() / 2
