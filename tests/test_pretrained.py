"""Weights files of every published form, and files that are not what they should be."""

import os

import pytest
import torch
from safetensors.torch import save_file

from stscq.backbones import build
from stscq.backbones.pretrained import load_exactly, read_weights
from stscq.errors import CheckpointError

SMALL = {"image_size": 32, "channels": 8, "multipliers": [1, 2], "blocks": 1, "d": 8, "K": 16}


@pytest.fixture
def source():
    torch.manual_seed(1)
    return build(family="ibq", **SMALL)


def fresh():
    torch.manual_seed(2)
    return build(family="ibq", **SMALL)


def load(tokenizer, path):
    load_exactly(tokenizer, read_weights(path), path)


def write(path, tensors):
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    elif path.suffix == ".ckpt":  # as Lightning writes it, with what training leaves behind
        extra = {"loss.discriminator.main.0.weight": torch.zeros(3)}
        torch.save({"epoch": 3, "global_step": 10, "state_dict": {**tensors, **extra}}, path)
    else:
        torch.save(tensors, path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin", "model.pth", "model.ckpt"])
def test_every_form_loads(tmp_path, source, name):
    write(tmp_path / name, source.state_dict())
    target = fresh()
    load(target, tmp_path / name)
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


def test_the_running_mean_is_taken_where_there_is_one(tmp_path, source):
    """As the public IBQ keeps it: beside the weights, without dots, with its own two numbers."""
    tensors = source.state_dict()
    mean = {name: torch.full_like(value, 0.5) for name, value in tensors.items()}
    del mean["quant_conv.bias"]  # of what is no parameter there is none
    averages = {f"model_ema.{name.replace('.', '')}": value for name, value in mean.items()}
    numbers = {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(-1)}
    write(tmp_path / "model.ckpt", {**tensors, **averages, **numbers})
    target = fresh()
    load(target, tmp_path / "model.ckpt")
    for name, value in target.state_dict().items():
        assert torch.equal(value, mean.get(name, tensors[name])), name


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin", "model.ckpt"])
@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_truncated_files_are_refused(tmp_path, source, name, keep):
    path = tmp_path / name
    write(path, source.state_dict())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=f"{name}: missing, truncated or no weights file"):
        load(fresh(), path)


def test_other_keys_and_shapes_are_named(tmp_path, source):
    tensors = source.state_dict()
    del tensors["quant_conv.bias"]
    tensors["encoder.extra"] = torch.zeros(1)
    tensors["decoder.conv_out.weight"] = torch.zeros(3, 4, 3, 3)
    tensors["decoder.conv_out.bias"] = torch.zeros(4)
    write(tmp_path / "model.bin", tensors)
    target = fresh()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(
        CheckpointError,
        match=r"model\.bin: not the weights of this IBQ: quant_conv.bias is missing; encoder.extra is not expected; "
        r"decoder.conv_out.weight is \[3, 4, 3, 3\], expected \[3, 8, 3, 3\] and 1 more",
    ):
        load(target, tmp_path / "model.bin")
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


class Attack:
    def __reduce__(self):
        return os.system, ("touch harmed",)


def test_pickled_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": Attack()}}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match="only plain tensors are read"):
        load(fresh(), tmp_path / "model.ckpt")
    assert not (tmp_path / "harmed").exists()


def test_what_is_no_table_of_tensors(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="no table of tensors"):
        load(fresh(), tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"absent\.pth: missing"):
        load(fresh(), tmp_path / "absent.pth")
