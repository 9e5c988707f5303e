"""Judging files that are the same as other ones in part."""

import numpy as np
import pandas as pd
import pytest

from stscq.evaluation.judging import ImageSet, Judge, judge_codec
from stscq.recognition.base import unit

N, S = 300, 16  # more than a batch
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (N + 5, S, S, 3)).astype(np.uint8)
NEAREST = [bytes([i % 7]) for i in range(N)]
OTHERS = [bytes([9]) if i % 3 == 0 else file for i, file in enumerate(NEAREST)]


class Colours:
    """An embedding that tells the pictures below apart."""

    def embed(self, images):
        return unit(images.astype(np.float32).mean((1, 2)) + np.arange(3))


class Decoder:
    """A file's one byte says the noise on its picture; keeps what it was given."""

    def __init__(self):
        self.decoded = []

    def __call__(self, files):
        self.decoded += files
        levels = np.frombuffer(b"".join(files), np.uint8)[:, None, None, None]
        return np.broadcast_to(20 * levels + np.arange(3, dtype=np.uint8), (len(files), S, S, 3)).astype(np.uint8)


class CountingFid:
    def __init__(self):
        self.taken = 0

    def update(self, originals, reconstructions):
        self.taken += len(reconstructions)

    def value(self):
        return float(self.taken)


def image_set(with_judge):
    rows = np.arange(5, N + 5)
    identity = np.array([f"p{row // 2}" for row in rows])
    judge = Judge(Colours(), Colours().embed(IMAGES[rows]), np.full(3, 0.1, np.float32)) if with_judge else None
    pairs = pd.DataFrame({"a": rows[:-1], "b": rows[1:], "same": rows[:-1] % 2 == 0, "fold": rows[:-1] % 2})
    return ImageSet(IMAGES, rows, identity, pairs.assign(protocol="own"), pairs.assign(group="all"), judge)


@pytest.mark.parametrize("with_judge", [True, False])
def test_what_is_the_same_is_not_decoded_again(with_judge):
    faces, decoder = image_set(with_judge), Decoder()
    first = judge_codec(faces, decoder, NEAREST)
    assert decoder.decoded == NEAREST
    second = judge_codec(faces, decoder, OTHERS, before=first.compared)
    assert decoder.decoded[N:] == [bytes([9])] * 100
    alone = judge_codec(faces, Decoder(), OTHERS)
    for found, expected in zip(second[:3], alone[:3], strict=True):
        pd.testing.assert_frame_equal(found, expected)
    assert second.measured == alone.measured
    again = judge_codec(faces, Decoder(), NEAREST).compared
    pd.testing.assert_frame_equal(first.compared.frame, again.frame)  # not written over
    np.testing.assert_array_equal(first.compared.embeddings, again.embeddings)
    assert second.measured["psnr"] != first.measured["psnr"]


def test_files_that_are_all_the_same_are_judged_without_decoding():
    faces = image_set(with_judge=True)
    first = judge_codec(faces, Decoder(), NEAREST)
    decoder = Decoder()
    again = judge_codec(faces, decoder, list(NEAREST), before=first.compared)
    assert not decoder.decoded
    assert again.measured == first.measured


def test_fid_takes_every_image():
    faces, decoder = image_set(with_judge=False), Decoder()
    first = judge_codec(faces, decoder, NEAREST)
    second = judge_codec(faces, decoder, OTHERS, fid=CountingFid(), before=first.compared)
    assert second.measured["fid"] == N
    assert decoder.decoded[N:] == OTHERS
