"""LPIPS v0.1 with AlexNet (Zhang et al., CVPR 2018), as published, from the published weights; needs no torchvision.

Written after the definition in the package lpips 0.1.4, with whose outputs it agrees (tests/test_lpips.py). Axes: N
pairs, S x S pixels, C channels of a layer, h x w its cells.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stscq.backbones.pretrained import read_weights
from stscq.data.tensors import to_float
from stscq.device import own_device
from stscq.errors import DataError
from stscq.evaluation.published_metrics import check_pairs, refusing

LAYERS = {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}
"""Number of each ReLU in AlexNet.features -> its channels."""
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Mean and deviation of ImageNet's channels (RGB) for pixels in [-1, 1], rounded as published."""
SMALLEST = 31
"""Pixels a side below which AlexNet's second pooling has nothing left."""
BATCH = 32


class AlexNet(nn.Module):
    """The convolutions of torchvision's AlexNet, with its names."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> list[Tensor]:
        """N x 3 x S x S -> the maps (N x C x h x w) after each ReLU."""
        maps = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in LAYERS:
                maps.append(x)
        return maps


class Heads(nn.Module):
    """A weight for each channel of each layer, without bias, under its published name (lin0.model.1.weight, ...)."""

    def __init__(self) -> None:
        super().__init__()
        for i, channels in enumerate(LAYERS.values()):
            # The dropout was for training: it is here for the 1 in the name, and idle in eval().
            weigh = nn.Sequential(nn.Dropout(), nn.Conv2d(channels, 1, 1, bias=False))
            self.add_module(f"lin{i}", nn.ModuleDict({"model": weigh}))

    def forward(self, differences: list[Tensor]) -> Tensor:
        """Squared differences of the layers' unit features (N x C x h x w each) -> N: means over cells, summed."""
        parts = [
            self.get_submodule(f"lin{i}.model")(difference).mean((1, 2, 3)) for i, difference in enumerate(differences)
        ]
        return torch.stack(parts).sum(0)


class Lpips:
    """Perceptual distance of image pairs: 0 for equal images, larger is worse."""

    def __init__(self, alexnet: Path, heads: Path, device: torch.device | None = None):
        """alexnet: torchvision's classifier, heads: the linear layers of LPIPS v0.1. device: CUDA where there is one.

        Raises CheckpointError, in one line, for files that are missing, damaged or other networks.
        """
        self.device = own_device() if device is None else device
        self.alexnet, self.heads = AlexNet().eval(), Heads().eval()
        tensors = read_weights(alexnet)
        with refusing(alexnet):
            self.alexnet.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("classifier.")})
        with refusing(heads):
            self.heads.load_state_dict(read_weights(heads))
        self.alexnet.to(self.device)
        self.heads.to(self.device)

    @torch.no_grad()
    def __call__(self, originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
        """N x S x S x 3 uint8 RGB both -> N float32. Raises DataError below 31 pixels a side."""
        check_pairs(originals, reconstructions)
        if min(originals.shape[1:3]) < SMALLEST:
            raise DataError(f"LPIPS needs {SMALLEST} x {SMALLEST} pixels, not {originals.shape[1:3]}: raise data.size")
        parts = [np.zeros(0, np.float32)]
        for i in range(0, len(originals), BATCH):
            first = self.features(originals[i : i + BATCH])
            second = self.features(reconstructions[i : i + BATCH])
            differences = [(a - b).square() for a, b in zip(first, second, strict=True)]
            parts.append(self.heads(differences).cpu().numpy())
        return np.concatenate(parts)

    def features(self, images: np.ndarray) -> list[Tensor]:
        """N x S x S x 3 uint8 -> the layers' maps, every cell's channels scaled to length 1."""
        x = 2 * to_float(images).to(self.device) - 1
        shift, scale = (x.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        # As published, the small number is added to the length; torchmetrics adds another one inside the square root.
        return [m / (m.square().sum(1, keepdim=True).sqrt() + 1e-10) for m in self.alexnet((x - shift) / scale)]
