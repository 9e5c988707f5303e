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
from stscq.quantization.search import prepare_codebooks, search_cr
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
            found.append(float(effort.identity_and_pixels(decoded, image, wanted, search.recogniser, False)))
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


class Looking:
    """A recogniser that sees every pixel, and remembers what it saw."""

    def __init__(self):
        self.pictures = []

    def prepare(self, images):
        self.pictures.append(images.detach())
        return images

    def maps_and_embedding(self, x):
        return [], x.flatten(1)


@pytest.fixture
def looked_at(monkeypatch):
    """Searches an image whose numbers are its latents (1200 tokens of one channel), with some entries (K). Returns the
    latents, the best index, what the recogniser saw, what entries were sought for, and the losses on the way."""
    image = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    z_e, recogniser, moved, losses = image.view(1, -1, 1), Looking(), [], []
    found, loss_of = effort.nearest_of_one, effort.identity_and_pixels
    monkeypatch.setattr(effort, "nearest_of_one", lambda z, *rest: moved.append(z) or found(z, *rest))
    monkeypatch.setattr(effort, "identity_and_pixels", lambda *all: losses.append(loss_of(*all)) or losses[-1])

    def refined(entries, steps=6):
        codebooks = prepare_codebooks(entries.view(1, 1, -1, 1), "euclidean")
        first = search_cr(z_e, codebooks, torch.zeros(1, dtype=torch.int64), "euclidean")
        search = effort.Search(
            lambda image: image.view(1, -1, 1),
            lambda z: z.view(1, 3, 20, 20),
            lambda assignment: entries[assignment.index][..., None],
            recogniser,
            steps,
        )
        best = effort.refine_one(image, first, effort.Quantiser("euclidean", codebooks, None), search)
        return z_e, best, recogniser.pictures, moved, [loss.item() for loss in losses]

    return refined


def test_the_recogniser_sees_the_picture_as_it_is_and_in_a_mirror_by_turns(looked_at):
    _, _, pictures, _, losses = looked_at(torch.linspace(0, 1, 8))
    wanted, steps = pictures[:2], pictures[2:]
    assert [picture.shape[-1] for picture in wanted] == [20, 18]
    assert [picture.shape[-1] for picture in steps] == [20, 18, 20, 18, 20, 18, 20]
    assert all(loss > 1e-3 for loss in losses)


def test_what_is_decoded_as_it_was_has_no_loss_in_either_view(looked_at, monkeypatch):
    monkeypatch.setattr(effort, "STEP", 0.0)
    every = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0)).flatten()
    _, best, _, _, losses = looked_at(every)
    assert losses == pytest.approx([0] * 7, abs=1e-5)
    assert torch.equal(every[best[0]], every)


def test_steps_get_shorter_until_there_is_none(looked_at):
    z_e, _, _, moved, _ = looked_at(torch.linspace(0, 1, 8))
    lengths = [(b - a).norm().item() for a, b in zip([z_e, *moved], moved, strict=False)]
    first = effort.STEP * z_e.norm().item()
    assert lengths == pytest.approx([first * left / 6 for left in (6, 5, 4, 3, 2, 1)], rel=1e-4)


def test_every_search_ends_with_the_picture_as_it_is():
    assert all(steps % 2 == 0 for steps in effort.STEPS)


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
