"""Codec: the very symbols come back, in any batch, for every kind of variant; only what is needed is read."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from stscq.codec.api import Codec
from stscq.codec.bitstream import payload
from stscq.codec.bundle.read import Bundle
from stscq.errors import BitstreamError, StscqError, WrongModelError
from stscq.evaluation.batch_differences import batch_differences
from tests.codec.conftest import ROUTED, VARIANTS


def choices():
    return [(name, selection) for name in VARIANTS for selection in (("nn", "router") if name in ROUTED else ("nn",))]


@pytest.mark.parametrize(("name", "selection"), choices())
def test_every_image_of_every_variant_comes_back(bundles, pictures, name, selection):
    codec = Codec.load(bundles[name])
    unseen = pictures[300:340]
    assigned = codec.quantise(unseen, selection)
    assert torch.equal(codec.quantise(unseen, selection).index, assigned.index)  # its first name, which people may use
    rows = np.array([5, 0, 33])
    again = codec.quantise(unseen, selection, rows, codec.latents(unseen, rows))  # encoded beforehand
    assert torch.equal(again.group, assigned.group[rows])
    assert torch.equal(again.index, assigned.index[rows])
    files = codec.encode(unseen, selection)
    found = codec.parse([codec.payload_of(file) for file in files])
    assert torch.equal(found.group, assigned.group)
    assert torch.equal(found.index, assigned.index)
    assert (codec.decode(files) == codec.reconstruct(assigned)).all()
    sizes = codec.sizes(assigned)
    assert all((a == b).all() for a, b in zip(sizes, codec.sizes(assigned, codec.payloads(assigned)), strict=True))
    forms = zip(assigned.group.numpy(), assigned.index.numpy(), sizes.fixed, sizes.coded, strict=True)
    for group, index, fixed, coded in forms:
        assert len(payload.fixed(int(group), index, codec.alphabet)) == fixed
        assert len(payload.coded(int(group), index, codec.alphabet)) == coded
    assert (sizes.file == [len(file) for file in files]).all()
    assert (sizes.file == 5 + np.minimum(sizes.fixed, sizes.coded)).all()


@pytest.mark.parametrize("name", ["switchable", "switchable_nn", "switchable_ibq", "global"])
def test_bytes_do_not_depend_on_the_batch(bundles, pictures, name):
    codec = Codec.load(bundles[name])
    together = codec.encode(pictures[:80])
    assert together == [file for i in range(80) for file in codec.encode(pictures[i : i + 1])]
    alone = np.concatenate([codec.decode([file]) for file in together])
    assert np.abs(alone.astype(int) - codec.decode(together)).max() <= 1


def test_batch_differences_are_counted(codec, pictures, monkeypatch):
    found = batch_differences(codec, pictures[:64])
    assert (found.images, found.kept) == (64, 0)
    assert found.largest_gap < 1e-5

    plain = type(codec.encoder).encode
    wrong = lambda self, images: plain(self, images) + (0.2 if len(images) > 1 else 0)  # noqa: E731
    monkeypatch.setattr(type(codec.encoder), "encode", wrong)
    found = batch_differences(codec, pictures[:64])
    assert found.tokens + found.groups > 0
    assert found.kept > 0


def test_near_ties_are_decided_alone(bundles, pictures, monkeypatch):
    """With rounding as large as the distance between entries, all is a near tie, and the batch has no say."""
    monkeypatch.setattr("stscq.codec.quantise.TIE", 10.0)
    codec = Codec.load(bundles["token_specific"])
    plain = type(codec.encoder).encode
    expected = codec.encode(pictures[:1])[0]
    wrong = lambda self, images: plain(self, images) + (0.2 if len(images) > 1 else 0)  # noqa: E731
    monkeypatch.setattr(type(codec.encoder), "encode", wrong)
    assert codec.encode(pictures[:5])[0] == expected


def test_only_needed_parts_and_groups_are_read(bundles, pictures, monkeypatch):
    read = []
    tensor, tensors = Bundle._tensor, Bundle._tensors
    monkeypatch.setattr(Bundle, "_tensor", lambda b, part, name: read.append((part, name)) or tensor(b, part, name))
    monkeypatch.setattr(Bundle, "_tensors", lambda b, part: read.append((part, "all")) or tensors(b, part))
    codec = Codec.load(bundles["switchable_conv"])
    files = codec.encode(pictures[:1], "router")
    group = int(codec.parse([codec.payload_of(files[0])]).group[0])
    codebooks = [name for part, name in read if part == "codebooks"]
    assert codebooks == [f"group.{group:05d}"]
    assert ("encoder", "all") in read
    assert ("decoder", "all") not in read

    read.clear()
    Codec.load(bundles["switchable_conv"]).decode(files)
    assert [name for part, name in read if part == "codebooks"] == codebooks
    assert ("encoder", "all") not in read
    assert {name for part, name in read if part == "tables"} == {"group", *codebooks}


def test_codebooks_in_memory_are_bounded(bundles, pictures, monkeypatch):
    codec = Codec.load(bundles["switchable_conv"])
    size = codec.bundle.codebook(0)
    monkeypatch.setattr("stscq.codec.bundle.groups.KEPT_BYTES", 2 * size.numel() * size.element_size())
    for group in range(6):
        assert torch.equal(codec.groups[group], codec.bundle.codebook(group))
        assert len(codec.groups.kept) <= 2


def test_wrong_input_is_refused(codec, bundles, pictures):
    with pytest.raises(StscqError, match=r"float64 .*; this model takes uint8 N x 32 x 32 x 3"):
        codec.encode(pictures[:1] / 255)
    with pytest.raises(StscqError, match="takes uint8"):
        codec.encode(pictures[:1, :16])
    with pytest.raises(StscqError, match="neither nn nor router"):
        codec.encode(pictures[:1], "best")
    with pytest.raises(StscqError, match="router needs a router"):
        Codec.load(bundles["global"]).encode(pictures[:1], "router")
    with pytest.raises(WrongModelError, match="file 0: written with model"):
        Codec.load(bundles["global"]).decode(codec.encode(pictures[:1]))
    with pytest.raises(BitstreamError, match="file 1: 0 bytes"):
        codec.decode([codec.encode(pictures[:1])[0], b""])
    long = codec.file_of(bytes(codec.alphabet.fixed_bytes + 1))
    with pytest.raises(BitstreamError, match="file 1: a payload of"):
        codec.decode([codec.encode(pictures[:1])[0], long])


def test_no_images_are_no_files(codec):
    nothing = np.zeros((0, 32, 32, 3), np.uint8)
    assert codec.encode(nothing) == []
    assert codec.decode([]).shape == (0, 32, 32, 3)


OTHER_CPU = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
             "OPENBLAS_CORETYPE": "Nehalem"}  # fmt: skip
ENCODE = """
import sys, numpy as np
from stscq.codec.api import Codec
codec = Codec.load(sys.argv[1])
files = codec.encode(np.load(sys.argv[2]))
np.savez(sys.argv[3], files=np.array([file.hex() for file in files]), pictures=codec.decode(files))
"""


@pytest.mark.parametrize("name", ["switchable", "switchable_ibq"])
def test_another_cpu_writes_the_same_bytes_and_shows_the_same_picture(bundles, pictures, name, tmp_path):
    """One without AVX: other kernels, which round in another order."""
    np.save(tmp_path / "in.npy", pictures[300:360])
    for out, environment in (("a", {}), ("b", OTHER_CPU)):
        command = [sys.executable, "-c", ENCODE, bundles[name], tmp_path / "in.npy", tmp_path / f"{out}.npz"]
        subprocess.run(command, env={**os.environ, **environment}, check=True)
    a, b = np.load(tmp_path / "a.npz"), np.load(tmp_path / "b.npz")
    assert (a["files"] == b["files"]).all()
    assert np.abs(a["pictures"].astype(int) - b["pictures"]).max() <= 1


def test_the_callers_precision_changes_nothing(bundles, pictures):
    expected = Codec.load(bundles["switchable"]).encode(pictures[:40])
    decoded = Codec.load(bundles["switchable"]).decode(expected)
    torch.set_default_dtype(torch.float64)
    try:
        codec = Codec.load(bundles["switchable"])
        with torch.autocast("cpu", torch.bfloat16):
            assert codec.encode(pictures[:40]) == expected
            assert (codec.decode(expected) == decoded).all()
            assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_lists_are_taken_and_what_is_no_list_is_told(codec, pictures):
    assert codec.encode(list(pictures[:3])) == codec.encode(pictures[:3])
    assert codec.encode([]) == []
    assert codec.decode([]).shape == (0, *pictures.shape[1:])
    (file,) = codec.encode(pictures[:1])
    for wrong in (file, bytearray(file), "name"):
        with pytest.raises(StscqError, match=r"give a list of files, \[file\] for one"):
            codec.decode(wrong)
    for odd in ([pictures[0], pictures[0][:5]], [1, 2], pictures[0], pictures[:1].astype(float), "name"):
        with pytest.raises(StscqError, match="this model takes uint8 N x"):
            codec.encode(odd)
