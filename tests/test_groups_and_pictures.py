"""Of the benchmarks on groups of people and on pictures of anything: what they draw, adapt and read."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.group_adapters import GroupConv, adapt, decode_by_group
from benchmarks.mitigation import FACES, drawn_rows
from benchmarks.natural import cifar_pictures
from stscq.errors import DataError
from stscq.quantization.trained_codec import load_codec
from tests.trained import CPU


def test_a_correction_for_each_group_begins_as_none_and_moves_its_group_alone(tuned):
    tokenizer = load_codec(tuned, CPU)[0].tokenizer.requires_grad_(False)
    adapted = copy.deepcopy(tokenizer)
    adapt(adapted.decoder, M=3, r=2)
    z_q, group = torch.randn(5, tokenizer.T, tokenizer.d), torch.tensor([2, 0, 1, 0, 2])
    plain = decode_by_group(tokenizer, z_q, group)
    torch.testing.assert_close(plain, tokenizer.decode(z_q))
    torch.testing.assert_close(decode_by_group(adapted, z_q, group), plain)
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(name.endswith((".up", ".down")) for name in trained)
    for module in adapted.modules():
        if isinstance(module, GroupConv):
            module.up.data[0] = 0.1
    moved = (decode_by_group(adapted, z_q, group) - plain).abs().amax((1, 2, 3)) > 1e-4
    assert moved.tolist() == [False, True, False, True, False]


def test_balanced_faces_are_as_many_of_each_cell():
    cells = {"White man": np.arange(6000), "Black man": np.arange(6000, 6100), "White woman": np.arange(6100, 9000),
             "Black woman": np.arange(9000, 9900)}  # fmt: skip
    balanced, as_they_are = (drawn_rows(cells, choice, seed=1) for choice in (True, False))
    assert len(balanced) == len(as_they_are) == FACES
    assert [np.isin(balanced, rows).sum() for rows in cells.values()] == [1000] * 4
    assert len(np.unique(as_they_are)) == FACES
    assert np.isin(as_they_are, cells["White man"]).mean() == pytest.approx(6000 / 9900, abs=0.05)


def test_pictures_of_cifar_are_rows_of_a_png(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
    for name, part in (("a.png", pictures[:4]), ("b.png", pictures[4:])):
        Image.fromarray(part.reshape(len(part), 1024, 3)).save(tmp_path / name)
    assert np.array_equal(np.stack(list(cifar_pictures(tmp_path, ["a.png", "b.png"], 6))), pictures[:6])
    with pytest.raises(DataError, match="1 pictures fewer than the 8"):
        list(cifar_pictures(tmp_path, ["a.png", "b.png"], 8))
