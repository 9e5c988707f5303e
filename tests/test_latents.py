"""Latents of augmented training faces, kept in a file for stages 1 and 2."""

import numpy as np
import pytest
import torch

from stscq.data.latents import read_latents
from stscq.errors import DataError
from stscq.quantization.trained_codec import load_codec
from stscq.training import codebook_training, latents
from stscq.training.encode import encode_rows
from stscq.training.faces import training_batches
from tests.trained import CPU


def test_kept_latents_are_those_of_augmented_training_faces(places, tuned, faces):
    codec, _ = load_codec(tuned, CPU)
    batches = training_batches(places["store"], places["split"], 8, 1, CPU)
    kept = latents.encode_copies(codec.tokenizer, batches, 2)
    assert kept.shape == (3, len(batches.rows), 64, 8)
    torch.testing.assert_close(kept[0], encode_rows(codec.tokenizer, batches.images, batches.rows))
    assert not torch.equal(kept[1], kept[2])
    drawn = codebook_training.latents_of_step(codec.tokenizer, batches, kept[1:])(5)
    assert all((kept[1:] == one).all((2, 3)).any() for one in drawn)
    direct = codebook_training.latents_of_step(codec.tokenizer, batches, None)(5)
    torch.testing.assert_close(direct, codec.tokenizer.encode(batches.draw(5).images))


def test_latents_of_other_faces_or_sizes_are_told(kept, tmp_path):
    N = len(np.load(kept)[0])
    with pytest.raises(DataError, match=rf"{kept}: float32 .*wanted are float32 latents of 3 faces, 64 x 8 each"):
        read_latents(kept, 3, 64, 8)
    with pytest.raises(DataError, match=r"other.npy: no latents to read"):
        read_latents(tmp_path / "other.npy", N, 64, 8)
    np.save(tmp_path / "wide.npy", np.load(kept).astype(float))
    with pytest.raises(DataError, match=r"wide.npy: float64"):
        read_latents(tmp_path / "wide.npy", N, 64, 8)
