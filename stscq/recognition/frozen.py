"""The frozen recogniser of the identity and perceptual losses: the demo's own, or a published ArcFace in ONNX."""

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from stscq.recognition.onnx_torch import OnnxIResNet
from stscq.recognition.train import load_iresnet


class Frozen(Protocol):
    def maps_and_embedding(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """B x 3 x 112 x 112 in [-1, 1] -> feature maps after each stage, from fine to coarse, and embeddings B x E."""


def load_frozen(path: Path, device: torch.device) -> Frozen:
    """A folder that stscq.recognition.train wrote, or an IResNet's .onnx file. Gradients flow through it, not into it.

    Raises CheckpointError or DataError, naming the file, when it cannot be read.
    """
    network = OnnxIResNet(path) if path.suffix == ".onnx" else load_iresnet(path)
    return network.eval().requires_grad_(False).to(device)


def weights_file(path: Path) -> Path:
    """The one file that decides what `load_frozen(path)` computes."""
    return path if path.suffix == ".onnx" else path / "weights.safetensors"
