"""Encoder effort: better entries by the recogniser that is followed, in files that any decoder reads."""

from pathlib import Path

import numpy as np
import pytest
import torch

from stscq.codec import commands, effort
from stscq.codec.api import Codec
from stscq.codec.commands import LEFT_OUT
from stscq.data.tensors import to_float
from stscq.device import full_precision
from stscq.errors import StscqError
from tests.codec.conftest import refused, unpack

CODECS = ["token_specific", "switchable", "unequal", "unequal_switchable"]


def losses(codec, images, assignment):
    """What the search minimises, image by image."""
    search = codec.with_effort(1)._search
    found = []
    with full_precision(), torch.no_grad():
        for i, image in enumerate(to_float(images, torch.device("cpu")).split(1)):
            one = type(assignment)(*(part[i : i + 1] for part in assignment))
            wanted = effort.embedding(search.recogniser, image)
            decoded = search.decode(search.entries(one))
            found.append(float(effort.identity_and_pixels(decoded, image, wanted, search.recogniser)))
    return np.array(found)


@pytest.mark.parametrize("name", CODECS)
def test_no_image_gets_worse_and_most_get_better(bundles, pictures, name):
    codec, images = Codec.load(bundles[name]), pictures[::40]
    nearest, searched = codec.quantise(images), codec.with_effort(5).quantise(images)
    before, after = losses(codec, images, nearest), losses(codec, images, searched)
    assert (after <= before + 1e-6).all()
    assert (after < before - 1e-4).mean() >= 0.5
    assert torch.equal(nearest.group, searched.group)
    assert not torch.equal(nearest.index, searched.index)


def test_steps_that_lead_away_are_not_taken(bundles, pictures, monkeypatch):
    """Uphill, so that the last entries are worse than the nearest: the best that were met are kept."""
    monkeypatch.setattr(effort, "STEP", -1.0)
    codec, images = Codec.load(bundles["token_specific"]), pictures[::40]
    nearest, searched = codec.quantise(images), codec.with_effort(2).quantise(images)
    assert (losses(codec, images, searched) <= losses(codec, images, nearest) + 1e-6).all()


def test_every_other_step_sees_the_picture_in_a_mirror_and_nearer():
    picture = torch.arange(3 * 40 * 40, dtype=torch.float32).view(1, 3, 40, 40)
    assert effort.seen(picture, False) is picture
    nearer = effort.seen(picture, True)
    assert nearer.shape == (1, 3, 36, 36)
    assert torch.equal(nearer[..., 0, 0], picture[..., 2, 37])
    assert torch.equal(nearer[..., -1, -1], picture[..., 37, 2])


def test_effort_0_is_the_nearest_entries(bundles, pictures):
    codec = Codec.load(bundles["switchable"])
    assert codec.with_effort(0).encode(pictures[:4]) == codec.encode(pictures[:4])


@pytest.mark.parametrize("name", CODECS)
def test_an_image_does_not_depend_on_the_others_and_any_codec_reads_its_file(bundles, pictures, name):
    plain = Codec.load(bundles[name])
    codec = plain.with_effort(2)
    files = codec.encode(pictures[:5])
    assert files == [codec.encode(pictures[i : i + 1])[0] for i in range(5)]
    assert files == codec.encode(pictures[:5])
    assert (plain.decode(files) == codec.reconstruct(codec.quantise(pictures[:5]))).all()


@pytest.mark.parametrize("level", [-1, 10])
def test_other_efforts_are_refused(codec, level):
    with pytest.raises(StscqError, match=f"effort {level} is not a number from 0 to 9"):
        codec.with_effort(level)


def test_on_the_command_line(here, model):
    for level in (0, 2):
        assert commands.compress(["D"], f"{level}.stscq", model, None, True, 1, True, effort=level) == LEFT_OUT
    assert Path("0.stscq").read_bytes() != Path("2.stscq").read_bytes()
    unpack("2.stscq", out="out", model=model)
    assert len(list(Path("out").rglob("*.png"))) == 4
    words = "effort 12 is not a number from 0 to 9"
    refused(words, commands.compress, ["D"], "x.stscq", model, None, True, 1, True, effort=12)
