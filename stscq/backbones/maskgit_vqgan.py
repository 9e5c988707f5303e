"""MaskGIT-VQGAN: a convolutional tokenizer without attention (Chang et al., 2022).

Module names and arithmetic follow the public PyTorch port, so that its weights load key by key. Axes: B images,
C channels, H x W pixels, T tokens (the grid, row by row), d latent channels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from stscq.backbones.base import Embedding, Tokenizer, channels_where_fast


def group_norm(channels: int) -> nn.GroupNorm:
    """32 groups at published widths; at least four channels a group in narrow demo models."""
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


def conv(in_channels: int, out_channels: int, kernel: int = 3, bias: bool = False) -> nn.Conv2d:
    """A stride-1 convolution; TensorFlow's SAME padding is symmetric there."""
    return nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)


def fold(x: Tensor, stem: int) -> Tensor:
    """Space to depth: B x C x H x W -> B x C stem^2 x H/stem x W/stem."""
    return x if stem == 1 else F.pixel_unshuffle(x, stem)


def unfold(x: Tensor, stem: int) -> Tensor:
    """Depth to space, the inverse of `fold`."""
    return x if stem == 1 else F.pixel_shuffle(x, stem)


class ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = conv(in_channels, out_channels)
        self.norm2 = group_norm(out_channels)
        self.conv2 = conv(out_channels, out_channels)
        # The released weights apply the shortcut to the block's OUTPUT, hence out -> out channels.
        self.nin_shortcut = conv(out_channels, out_channels, 1) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (x if self.nin_shortcut is None else self.nin_shortcut(h))


class DownLevel(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, blocks: int, downsample: bool):
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(in_channels if i == 0 else out_channels, out_channels) for i in range(blocks)
        )
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return F.avg_pool2d(x, 2) if self.downsample else x


class UpLevel(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, blocks: int, upsample: bool):
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(in_channels if i == 0 else out_channels, out_channels) for i in range(blocks)
        )
        self.upsample_conv = conv(out_channels, out_channels, bias=True) if upsample else None

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if self.upsample_conv is None:
            return x
        return self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class ConvEncoder(nn.Module):
    """B x 3 x H x W in [0, 1] -> B x d x h x w with h = H / (stem 2^(levels - 1)).

    A `stem` above 1 (ours, for small pictures) first folds stem x stem pixels into channels: full resolution, where
    most arithmetic of a narrow model goes, is skipped. At 1, the published size, nothing is folded.
    """

    def __init__(self, channels: int, multipliers: Sequence[int], blocks: int, d: int, stem: int = 1):
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.stem = stem
        self.conv_in = conv(3 * stem**2, channels)
        self.down = nn.ModuleList(
            DownLevel([channels, *widths][i], widths[i], blocks, downsample=i < len(widths) - 1)
            for i in range(len(widths))
        )
        self.mid = nn.ModuleList(ResidualBlock(widths[-1], widths[-1]) for _ in range(blocks))
        self.norm_out = group_norm(widths[-1])
        self.conv_out = conv(widths[-1], d, 1, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(channels_where_fast(fold(x, self.stem)))
        for level in self.down:
            h = level(h)
        for block in self.mid:
            h = block(h)
        return self.conv_out(F.silu(self.norm_out(h)))


class ConvDecoder(nn.Module):
    """B x d x h x w -> B x 3 x H x W, not clamped; the encoder's `stem` is unfolded at the end."""

    def __init__(self, channels: int, multipliers: Sequence[int], blocks: int, d: int, stem: int = 1):
        super().__init__()
        self.stem = stem
        widths = [channels * m for m in multipliers]
        self.conv_in = conv(d, widths[-1], bias=True)
        self.mid = nn.ModuleList(ResidualBlock(widths[-1], widths[-1]) for _ in range(blocks))
        # Level 0 is the finest, as in the released weights; the forward pass walks from coarse to fine.
        self.up = nn.ModuleList(
            UpLevel((widths + widths[-1:])[i + 1], widths[i], blocks, upsample=i > 0) for i in range(len(widths))
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = conv(widths[0], 3 * stem**2, bias=True)

    def forward(self, z: Tensor) -> Tensor:
        h = self.conv_in(channels_where_fast(z))
        for block in self.mid:
            h = block(h)
        for level in reversed(self.up):
            h = level(h)
        return unfold(self.conv_out(F.silu(self.norm_out(h))), self.stem)


class MaskGITVQGAN(Tokenizer):
    """Published size: image 256, channels 128, multipliers 1,1,2,2,4, two blocks a level, K 1024, d 256, T 256."""

    metric = "euclidean"

    def __init__(
        self,
        image_size: int,
        channels: int,
        multipliers: Sequence[int],
        blocks: int,
        d: int,
        K: int,
        stem: int = 1,
    ):
        super().__init__()
        self.grid = (image_size // stem) >> (len(multipliers) - 1)
        self.T, self.d = self.grid**2, d
        self.encoder = ConvEncoder(channels, multipliers, blocks, d, stem)
        self.decoder = ConvDecoder(channels, multipliers, blocks, d, stem)
        self.quantize = Embedding(K, d)

    def to_latents(self, images: Tensor) -> Tensor:
        return rearrange(self.encoder(images), "B d h w -> B (h w) d")

    def to_images(self, z_q: Tensor) -> Tensor:
        return self.decoder(rearrange(z_q, "B (h w) d -> B d h w", h=self.grid))

    def initialise(self) -> None:
        """Residual branches start at zero, where the shortcut is the input: a nearly linear model learns far faster."""
        for block in self.modules():
            if isinstance(block, ResidualBlock) and block.nin_shortcut is None:
                nn.init.zeros_(block.conv2.weight)

    def encoder_parameters(self) -> list[nn.Parameter]:
        return list(self.encoder.parameters())

    def decoder_parts(self) -> list[nn.Module]:
        return [self.decoder]
