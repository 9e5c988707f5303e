"""The frozen recogniser of the identity and perceptual losses: the demo's own, or a published ArcFace in ONNX."""

import json
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from stscq.checkpoint import load_checkpoint
from stscq.recognition.iresnet import IResNet


class Frozen(Protocol):
    def maps_and_embedding(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """B x 3 x 112 x 112 in [-1, 1] -> feature maps after each stage, from fine to coarse, and embeddings B x E."""


def load_frozen(path: Path, device: torch.device) -> Frozen:
    """What stscq.training.recogniser wrote, or an IResNet's .onnx file. Gradients flow through it, not into it.

    Raises CheckpointError or DataError, naming the file, when it cannot be read.
    """
    if path.suffix == ".onnx":
        from stscq.recognition.onnx_torch import OnnxIResNet  # imported here: it brings onnx; the demo trains its own

        return OnnxIResNet(path).eval().requires_grad_(False).to(device)
    return load_iresnet(path).eval().requires_grad_(False).to(device)


def load_iresnet(folder: Path) -> IResNet:
    """A trained recogniser as a frozen torch module. Raises CheckpointError when it is missing or damaged."""
    tensors, recipe = load_checkpoint(folder)
    network = IResNet(**json.loads(recipe["model"]))
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def weights_file(path: Path) -> Path:
    """The one file that decides what `load_frozen(path)` computes."""
    return path if path.suffix == ".onnx" else path / "weights.safetensors"
