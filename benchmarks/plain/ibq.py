"""IBQ's VQGAN in the plain manner of taming-transformers: swish as a product, attention by two matrix products.

Axes: B images, C channels, H x W pixels, T tokens, d latent channels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain.maskgit_vqgan import normalise
from stscq.backbones.base import Embedding


def swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


class ResnetBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = normalise(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = normalise(out_channels)
        self.dropout = nn.Dropout(0.0)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.changes_width = in_channels != out_channels
        if self.changes_width:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(swish(self.norm1(x)))
        h = self.conv2(self.dropout(swish(self.norm2(h))))
        if self.changes_width:
            x = self.nin_shortcut(x)
        return x + h


class AttnBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.norm = normalise(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = self.q(h), self.k(h), self.v(h)
        B, C, H, W = q.shape
        q = q.reshape(B, C, H * W).permute(0, 2, 1)
        k = k.reshape(B, C, H * W)
        weights = torch.bmm(q, k) * C**-0.5  # B x queries x keys
        weights = F.softmax(weights, dim=2).permute(0, 2, 1)
        h = torch.bmm(v.reshape(B, C, H * W), weights).reshape(B, C, H, W)
        return x + self.proj_out(h)


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1), mode="constant", value=0))


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks, each followed by attention where a level has it."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, attention: bool):
        super().__init__()
        widths = [in_channels] + [out_channels] * blocks
        self.block = nn.ModuleList(ResnetBlock(a, b) for a, b in pairwise(widths))
        self.attn = nn.ModuleList(AttnBlock(out_channels) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn) > 0:
                x = self.attn[i](x)
        return x


class DownLevel(Level):
    def __init__(self, in_channels: int, out_channels: int, blocks: int, last: bool):
        super().__init__(in_channels, out_channels, blocks, attention=last)
        self.downsample = nn.Identity() if last else Downsample(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(super().forward(x))


class UpLevel(Level):
    def __init__(self, in_channels: int, out_channels: int, blocks: int, attention: bool, upsample: bool):
        super().__init__(in_channels, out_channels, blocks, attention)
        self.upsample = Upsample(out_channels) if upsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(super().forward(x))


class Middle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """B x 3 x H x W in [-1, 1] -> B x d x h x w."""

    def __init__(self, channels: int, multipliers: Sequence[int], blocks: int, d: int):
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        pairs = list(zip([channels, *widths[:-1]], widths, strict=True))
        self.down = nn.ModuleList(DownLevel(a, b, blocks, last=i == len(pairs) - 1) for i, (a, b) in enumerate(pairs))
        self.mid = Middle(widths[-1])
        self.norm_out = normalise(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], d, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        h = self.mid(h)
        return self.conv_out(swish(self.norm_out(h)))


class Decoder(nn.Module):
    """B x d x h x w -> B x 3 x H x W, meant for [-1, 1]."""

    def __init__(self, channels: int, multipliers: Sequence[int], blocks: int, d: int):
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.conv_in = nn.Conv2d(d, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        pairs = list(zip([*widths[1:], widths[-1]], widths, strict=True))
        self.up = nn.ModuleList(
            UpLevel(a, b, blocks + 1, attention=i == len(pairs) - 1, upsample=i > 0) for i, (a, b) in enumerate(pairs)
        )
        self.norm_out = normalise(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.conv_in(z)
        h = self.mid(h)
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(swish(self.norm_out(h)))


class IBQ(nn.Module):
    def __init__(self, image_size: int, channels: int, multipliers: Sequence[int], blocks: int, d: int, K: int):
        super().__init__()
        self.grid = image_size >> (len(multipliers) - 1)
        self.encoder = Encoder(channels, multipliers, blocks, d)
        self.decoder = Decoder(channels, multipliers, blocks, d)
        self.quantize = Embedding(K, d)
        self.quant_conv = nn.Conv2d(d, d, 1)
        self.post_quant_conv = nn.Conv2d(d, d, 1)

    def encode(self, images: Tensor) -> Tensor:
        """B x 3 x H x W in [0, 1] -> B x T x d; the public scripts scale images to [-1, 1] as here."""
        return self.quant_conv(self.encoder(images * 2 - 1)).permute(0, 2, 3, 1).flatten(1, 2)

    def decode(self, z_q: Tensor) -> Tensor:
        """B x T x d -> B x 3 x H x W."""
        z_q = z_q.unflatten(1, (self.grid, self.grid)).permute(0, 3, 1, 2).contiguous()
        return (self.decoder(self.post_quant_conv(z_q)) + 1) / 2
