"""LPIPS v0.1 with AlexNet (Zhang et al., CVPR 2018), as published: a loss whose gradient reaches its first images.

Needs no torchvision. Written after the definition in the package lpips 0.1.4 (tests/test_lpips.py). Axes: B pairs,
S x S pixels, C channels of a layer, h x w its cells.
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from stscq.backbones.pretrained import read_weights, refusing
from stscq.errors import ParamsError

PerceptualBy = Literal["recogniser", "lpips"]
"""Whose features a stage's perceptual loss compares."""
LAYERS = {1: 64, 4: 192, 7: 384, 9: 256, 11: 256}
"""Number of each ReLU in AlexNet.features -> its channels."""
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""Mean and deviation of ImageNet's channels (RGB) for pixels in [-1, 1], rounded as published."""


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
        """B x 3 x S x S -> the maps (B x C x h x w) after each ReLU."""
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
        """Squared differences of the layers' unit features (B x C x h x w each) -> B: means over cells, summed."""
        parts = [
            self.get_submodule(f"lin{i}.model")(difference).mean((1, 2, 3)) for i, difference in enumerate(differences)
        ]
        return torch.stack(parts).sum(0)


class Lpips(nn.Module):
    """Perceptual distance of image pairs: 0 for equal images, larger is worse."""

    def __init__(self) -> None:
        super().__init__()
        self.alexnet, self.heads = AlexNet(), Heads()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """B x 3 x S x S in [0, 1] both -> B."""
        return self.heads([(x - y).square() for x, y in zip(self.features(a), self.features(b), strict=True)])

    def features(self, images: Tensor) -> list[Tensor]:
        """B x 3 x S x S in [0, 1] -> the layers' maps, every cell's channels scaled to length 1."""
        x = 2 * images - 1
        shift, scale = (x.new_tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        # As published, the small number is added to the length; torchmetrics adds another one inside the square root.
        # Not by a square root: where all channels are 0, its gradient is no number, and that of the norm is 0.
        maps = self.alexnet((x - shift) / scale)
        return [m / (torch.linalg.vector_norm(m, dim=1, keepdim=True) + 1e-10) for m in maps]


def load_lpips(alexnet: Path, heads: Path, device: torch.device) -> Lpips:
    """Frozen. alexnet: torchvision's classifier, heads: the linear layers of LPIPS v0.1.

    Raises CheckpointError, in one line, for files that are missing, damaged or other networks.
    """
    lpips = Lpips().eval().requires_grad_(False)
    tensors = read_weights(alexnet)
    with refusing(alexnet):
        lpips.alexnet.load_state_dict({k: v for k, v in tensors.items() if not k.startswith("classifier.")})
    with refusing(heads):
        lpips.heads.load_state_dict(read_weights(heads))
    return lpips.to(device)


def chosen_lpips(by: PerceptualBy, alexnet: Path | None, heads: Path | None, device: torch.device) -> Lpips | None:
    """Of a stage's perceptual loss; None where the recogniser gives it. Raises ParamsError where files are missing."""
    if by == "recogniser":
        return None
    if alexnet is None or heads is None:
        raise ParamsError("perceptual_by lpips needs the weights of LPIPS: name alexnet and lpips_alex")
    return load_lpips(alexnet, heads, device)


def given(*paths: Path | None) -> list[Path]:
    """Those that are there."""
    return [path for path in paths if path is not None]
