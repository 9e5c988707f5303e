"""An evaluation with effort that is killed goes on where it was."""

import numpy as np
import pytest
import torch

from stscq.codec.api import Codec
from stscq.errors import CheckpointError
from stscq.evaluation import quantise
from stscq.evaluation.quantise import quantised
from tests.codec.conftest import bundles, pictures  # noqa: F401  fixtures


class KilledError(Exception):
    pass


@pytest.fixture
def asked(monkeypatch):
    """How many images the codec was asked for; every result is kept at once."""
    asked = []
    quantise_as_ever = Codec.quantise

    def counting(self, images, selection=None, rows=None, z_e=None):
        if len(asked) == asked_at_most[0]:
            raise KilledError
        asked.append(len(rows))
        return quantise_as_ever(self, images, selection, rows, z_e)

    asked_at_most = [2]
    monkeypatch.setattr(Codec, "quantise", counting)
    monkeypatch.setattr(quantise, "AT_ONCE", 3)
    monkeypatch.setattr(quantise, "SAVE_SECONDS", 0.0)
    return asked, asked_at_most


def test_what_was_found_before_a_kill_is_not_sought_again(bundles, pictures, tmp_path, asked, capsys):  # noqa: F811
    codec, rows = Codec.load(bundles["switchable"]).with_effort(1), np.arange(0, 200, 20)
    z_e, kept = codec.latents(pictures, rows), tmp_path / "seed1.partial" / "nn.safetensors"
    images, at_most = asked
    with pytest.raises(KilledError):
        quantised(codec, "nn", pictures, rows, z_e, kept)
    assert images == [3, 3]
    at_most[0] = 100
    found = quantised(codec, "nn", pictures, rows, z_e, kept)
    assert images == [3, 3, 3, 1]
    assert f"going on after 6 images of {kept}" in capsys.readouterr().err
    whole = codec.quantise(pictures, "nn", rows, z_e)
    assert torch.equal(found.group, whole.group)
    assert torch.equal(found.index, whole.index)


def test_what_was_found_for_something_else_is_sought_anew(bundles, pictures, tmp_path, asked, capsys):  # noqa: F811
    codec, rows = Codec.load(bundles["switchable"]).with_effort(1), np.arange(5)
    z_e, kept = codec.latents(pictures, rows), tmp_path / "nn.safetensors"
    images, at_most = asked
    at_most[0] = 100
    quantised(codec, "nn", pictures, rows, z_e, kept)
    before = len(images)
    for other, selection, shown in (
        (codec.with_effort(2), "nn", pictures),
        (codec.with_effort(2), "router", pictures),
        (codec.with_effort(2), "router", pictures[::-1]),
    ):
        quantised(other, selection, shown, rows, z_e, kept)
        assert "starting anew" in capsys.readouterr().err
    assert len(images) == 4 * before
    quantised(codec.with_effort(2), "router", pictures[::-1], rows, z_e, kept)
    assert len(images) == 4 * before
    kept.write_bytes(kept.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"nn\.safetensors: missing or damaged"):
        quantised(codec.with_effort(2), "router", pictures[::-1], rows, z_e, kept)


def test_nothing_is_kept_without_effort(bundles, pictures, tmp_path):  # noqa: F811
    codec, rows = Codec.load(bundles["token_specific"]), np.arange(5)
    quantised(codec, "nn", pictures, rows, codec.latents(pictures, rows), tmp_path / "nn.safetensors")
    assert not list(tmp_path.iterdir())
