"""IResNet, the backbone of ArcFace models, in the naming of insightface's arcface_torch.

Axes: B images, 3 x 112 x 112 pixels, E embedding length.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT_SIZE = 112


class IBasicBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.prelu = nn.PReLU(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample = (
            nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
            if stride != 1 or in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(h)) + self.downsample(x)


class IResNet(nn.Module):
    """B x 3 x 112 x 112 in [-1, 1] -> B x E, not normalised.

    Published sizes have a stem of stride 1 and four stages of 64, 128, 256 and 512 channels; a small model may take
    the stem at stride 2 and its first stage at stride 1, which keeps the 7 x 7 end.
    """

    def __init__(self, widths: Sequence[int], blocks: Sequence[int], stem_stride: int, embedding: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        layers = []
        channels = widths[0]
        for i, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            stride = 1 if i == 0 and stem_stride == 2 else 2
            layers.append(
                nn.Sequential(
                    *(IBasicBlock(channels if b == 0 else width, width, stride if b == 0 else 1) for b in range(count))
                )
            )
            channels = width
        self.layers = nn.ModuleList(layers)
        self.bn2 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels * 7 * 7, embedding)
        self.features = nn.BatchNorm1d(embedding)

    def prepare(self, images: Tensor) -> Tensor:
        """Images B x 3 x S x S in [0, 1] -> the input of a network that is frozen."""
        return frozen_input(images)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The feature maps after each stage: what the perceptual loss compares."""
        x = self.prelu(self.bn1(self.conv1(x)))
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps

    def maps_and_embedding(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The feature maps after each stage, and the embeddings."""
        maps = self.stages(x)
        return maps, self.features(self.fc(self.bn2(maps[-1]).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        return self.maps_and_embedding(x)[1]


def to_input(images: Tensor) -> Tensor:
    """Images B x 3 x H x W in [0, 1] -> the network's input, B x 3 x 112 x 112 in [-1, 1]."""
    resized = F.interpolate(images, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)
    # Plain layout: with channels last, torch 2.13 crashed on CPUs in the backward pass of this network's weights.
    return (2 * resized - 1).contiguous()


def frozen_input(images: Tensor) -> Tensor:
    """`to_input` for a network that is not trained: channels last, which is faster."""
    return to_input(images).contiguous(memory_format=torch.channels_last)
