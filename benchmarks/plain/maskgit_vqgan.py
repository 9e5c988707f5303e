"""MaskGIT-VQGAN in the plain manner of open-muse and 1d-tokenizer: padding computed and applied at each convolution.

Axes: B images, C channels, H x W pixels, T tokens, d latent channels.
"""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from stscq.backbones.base import Embedding


def normalise(channels: int) -> nn.GroupNorm:
    """32 groups, or at least four channels a group in the small models of tests."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6, affine=True)


class Conv2dSame(nn.Conv2d):
    """TensorFlow's SAME padding, from the size of each input."""

    def forward(self, input: Tensor) -> Tensor:
        (top, bottom), (left, right) = (self.padding_along(axis, input.shape[axis - 2]) for axis in (0, 1))
        if top + bottom + left + right > 0:
            input = F.pad(input, [left, right, top, bottom])
        return super().forward(input)

    def padding_along(self, axis: int, size: int) -> tuple[int, int]:
        kernel, stride, dilation = self.kernel_size[axis], self.stride[axis], self.dilation[axis]
        total = max((math.ceil(size / stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        return total // 2, total - total // 2


class ResnetBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = normalise(in_channels)
        self.conv1 = Conv2dSame(in_channels, out_channels, 3, bias=False)
        self.norm2 = normalise(out_channels)
        self.dropout = nn.Dropout(0.0)
        self.conv2 = Conv2dSame(out_channels, out_channels, 3, bias=False)
        self.changes_width = in_channels != out_channels
        if self.changes_width:
            self.nin_shortcut = Conv2dSame(out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        residual = x
        x = self.conv1(F.silu(self.norm1(x)))
        x = self.dropout(F.silu(self.norm2(x)))
        x = self.conv2(x)
        if self.changes_width:
            residual = self.nin_shortcut(x)
        return x + residual


def resnet_blocks(in_channels: int, out_channels: int, blocks: int) -> nn.ModuleList:
    return nn.ModuleList(ResnetBlock(in_channels if i == 0 else out_channels, out_channels) for i in range(blocks))


class DownsamplingBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, blocks: int, downsample: bool):
        super().__init__()
        self.block = resnet_blocks(in_channels, out_channels, blocks)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.downsample:
            x = F.avg_pool2d(x, kernel_size=2, stride=2)
        return x


class UpsamplingBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, blocks: int, upsample: bool):
        super().__init__()
        self.block = resnet_blocks(in_channels, out_channels, blocks)
        self.add_upsample = upsample
        if upsample:
            self.upsample_conv = Conv2dSame(out_channels, out_channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.add_upsample:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.upsample_conv(x)
        return x


class Encoder(nn.Module):
    """B x 3 x H x W in [0, 1] -> B x d x h x w."""

    def __init__(self, channels: int, multipliers: Sequence[int], blocks: int, d: int):
        super().__init__()
        widths = [channels * m for m in multipliers]
        pairs = list(zip([channels, *widths[:-1]], widths, strict=True))
        self.conv_in = Conv2dSame(3, channels, 3, bias=False)
        self.down = nn.ModuleList(
            DownsamplingBlock(a, b, blocks, downsample=i < len(pairs) - 1) for i, (a, b) in enumerate(pairs)
        )
        self.mid = resnet_blocks(widths[-1], widths[-1], blocks)
        self.norm_out = normalise(widths[-1])
        self.conv_out = Conv2dSame(widths[-1], d, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in [*self.down, *self.mid]:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """B x d x h x w -> B x 3 x H x W."""

    def __init__(self, channels: int, multipliers: Sequence[int], blocks: int, d: int):
        super().__init__()
        widths = [channels * m for m in multipliers]
        pairs = zip([*widths[1:], widths[-1]], widths, strict=True)
        self.conv_in = Conv2dSame(d, widths[-1], 3)
        self.mid = resnet_blocks(widths[-1], widths[-1], blocks)
        self.up = nn.ModuleList(UpsamplingBlock(a, b, blocks, upsample=i > 0) for i, (a, b) in enumerate(pairs))
        self.norm_out = normalise(widths[0])
        self.conv_out = Conv2dSame(widths[0], 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in [*self.mid, *reversed(self.up)]:
            x = block(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class MaskGITVQGAN(nn.Module):
    def __init__(self, image_size: int, channels: int, multipliers: Sequence[int], blocks: int, d: int, K: int):
        super().__init__()
        self.grid = image_size >> (len(multipliers) - 1)
        self.encoder = Encoder(channels, multipliers, blocks, d)
        self.decoder = Decoder(channels, multipliers, blocks, d)
        self.quantize = Embedding(K, d)

    def encode(self, images: Tensor) -> Tensor:
        """B x 3 x H x W in [0, 1] -> B x T x d; the public quantiser starts with the same permutation."""
        return self.encoder(images).permute(0, 2, 3, 1).flatten(1, 2)

    def decode(self, z_q: Tensor) -> Tensor:
        """B x T x d -> B x 3 x H x W."""
        return self.decoder(z_q.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2).contiguous())
