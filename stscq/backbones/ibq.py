"""IBQ: a VQGAN with attention at the coarsest level, whose index is the largest inner product (Shi et al., 2025).

Names follow the public model, so that its weights load key by key. Axes: B images, H x W pixels, T tokens (the grid,
row by row), d latent channels.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from stscq.backbones.base import Embedding, Tokenizer, channels_where_fast
from stscq.backbones.maskgit_vqgan import fold, group_norm, unfold


class ResidualBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = group_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.nin_shortcut(x) + h


class AttentionBlock(nn.Module):
    """Single-head self-attention over the grid cells."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (rearrange(f(h), "B c h w -> B 1 (h w) c") for f in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(h, "B 1 (h w) c -> B c h w", h=x.shape[2]))


class Downsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """Residual blocks (each followed by attention at the coarsest level), then down- or upsampling."""

    def __init__(self, in_channels: int, out_channels: int, blocks: int, attention: bool):
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(in_channels if i == 0 else out_channels, out_channels) for i in range(blocks)
        )
        self.attn = nn.ModuleList(AttentionBlock(out_channels) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        return self.resample(x)

    def resample(self, x: Tensor) -> Tensor:
        """`downsample` or `upsample`, where a level has one (the published names)."""
        for module in (getattr(self, "downsample", None), getattr(self, "upsample", None)):
            x = x if module is None else module(x)
        return x


class Middle(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels)
        self.attn_1 = AttentionBlock(channels)
        self.block_2 = ResidualBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """B x 3 x H x W in [-1, 1] -> B x d x h x w with h = H / (stem 2^(levels - 1)); stem as in MaskGIT-VQGAN's."""

    def __init__(self, channels: int, multipliers: Sequence[int], blocks: int, d: int, stem: int):
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.stem = stem
        self.conv_in = nn.Conv2d(3 * stem**2, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for i, (a, b) in enumerate(zip([channels, *widths], widths, strict=False)):
            coarsest = i == len(widths) - 1
            level = Level(a, b, blocks, attention=coarsest)
            if not coarsest:
                level.downsample = Downsample(b)
            self.down.append(level)
        self.mid = Middle(widths[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], d, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(channels_where_fast(fold(x, self.stem)))
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """B x d x h x w -> B x 3 x H x W, meant for [-1, 1]. It has one block more a level than the encoder."""

    def __init__(self, channels: int, multipliers: Sequence[int], blocks: int, d: int, stem: int):
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.stem = stem
        self.conv_in = nn.Conv2d(d, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList()
        for i, (a, b) in enumerate(zip(widths[1:] + widths[-1:], widths, strict=True)):
            level = Level(a, b, blocks + 1, attention=i == len(widths) - 1)
            if i > 0:
                level.upsample = Upsample(b)
            self.up.append(level)
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3 * stem**2, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(channels_where_fast(z)))
        for level in reversed(self.up):  # level 0 is the finest, as in the released weights
            h = level(h)
        return unfold(self.conv_out(F.silu(self.norm_out(h))), self.stem)


class IBQ(Tokenizer):
    """Published size: image 256, channels 128, multipliers 1,1,2,2,4, four blocks a level, K 8192, d 256, T 256."""

    metric = "inner"

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
        self.encoder = Encoder(channels, multipliers, blocks, d, stem)
        self.decoder = Decoder(channels, multipliers, blocks, d, stem)
        self.quantize = Embedding(K, d)
        self.quant_conv = nn.Conv2d(d, d, 1)
        self.post_quant_conv = nn.Conv2d(d, d, 1)

    def to_latents(self, images: Tensor) -> Tensor:
        return rearrange(self.quant_conv(self.encoder(2 * images - 1)), "B d h w -> B (h w) d")

    def to_images(self, z_q: Tensor) -> Tensor:
        z_q = self.post_quant_conv(rearrange(z_q, "B (h w) d -> B d h w", h=self.grid))
        return (self.decoder(z_q) + 1) / 2

    def initialise(self) -> None:
        """Residual branches start at zero: a nearly linear model learns far faster."""
        for block in self.modules():
            if isinstance(block, ResidualBlock):
                nn.init.zeros_(block.conv2.weight)
            elif isinstance(block, AttentionBlock):
                nn.init.zeros_(block.proj_out.weight)

    def encoder_parameters(self) -> list[nn.Parameter]:
        return [*self.encoder.parameters(), *self.quant_conv.parameters()]

    def decoder_parts(self) -> list[nn.Module]:
        return [self.decoder, self.post_quant_conv]
