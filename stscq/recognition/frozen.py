"""The frozen recogniser of the identity and perceptual losses: the demo's own, or a published ArcFace in ONNX.

Or the judge itself, for variants that stand outside all claims (`taught_by: judge` in params.yaml).
"""

import json
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from stscq.checkpoint import load_checkpoint
from stscq.errors import CheckpointError
from stscq.recognition.iresnet import IResNet

DLIB = Path("dlib")
"""In the place of a path: dlib's network, as for the judge."""


class Frozen(Protocol):
    def prepare(self, images: Tensor) -> Tensor:
        """B x 3 x S x S in [0, 1] -> the recogniser's own input: its size, its scaling."""

    def maps_and_embedding(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Its input -> feature maps after each stage, from fine to coarse, and embeddings B x E."""


def load_frozen(path: Path, device: torch.device) -> Frozen:
    """What stscq.training.recogniser wrote, an IResNet's .onnx file, or `dlib`. Gradients flow through it, not into it.

    Raises CheckpointError or DataError, naming the file, when it cannot be read.
    """
    if path == DLIB:
        from stscq.recognition.dlib_resnet import dlib_network  # imported here: it brings dlib, for its model's file

        return dlib_network().to(device)
    if path.suffix == ".onnx":
        from stscq.recognition.onnx_torch import OnnxIResNet  # imported here: it brings onnx; the demo trains its own

        return OnnxIResNet(path).eval().requires_grad_(False).to(device)
    return load_iresnet(path).to(device)


def load_iresnet(folder: Path) -> IResNet:
    """A trained recogniser as a frozen torch module. Raises CheckpointError when it is missing or damaged."""
    tensors, recipe = load_checkpoint(folder)
    try:
        network = IResNet(**json.loads(recipe["model"]))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        said = " ".join(str(problem).split())[:200]
        raise CheckpointError(f"{folder}: not a recogniser of ours ({said})") from problem
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def weights_file(path: Path) -> Path:
    """The one file that decides what `load_frozen(path)` computes."""
    if path == DLIB:
        from stscq.recognition.dlib_resnet import dlib_file

        return dlib_file()
    return path if path.suffix == ".onnx" else path / "weights.safetensors"
