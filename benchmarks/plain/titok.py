"""TiTok in the plain manner of 1d-tokenizer: `nn.MultiheadAttention` with the sequence first, `nn.Sequential` MLPs.

Axes: B images, L positions (grid, then tokens), T tokens, d latent channels.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.plain.maskgit_vqgan import Decoder as PixelDecoder
from stscq.backbones.base import Embedding


class ResidualAttentionBlock(nn.Module):
    """L x B x C -> L x B x C."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        parts = [("c_fc", nn.Linear(width, 4 * width)), ("gelu", nn.GELU()), ("c_proj", nn.Linear(4 * width, width))]
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


def expand_token(token: Tensor, B: int) -> Tensor:
    return token.unsqueeze(0).expand(B, -1, -1)


class ViT(nn.Module):
    """What encoder and decoder share: positions, and transformer blocks between two norms."""

    def __init__(self, grid: int, width: int, layers: int, heads: int, T: int):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(1, width))
        self.positional_embedding = nn.Parameter(torch.zeros(grid**2 + 1, width))
        self.latent_token_positional_embedding = nn.Parameter(torch.zeros(T, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(ResidualAttentionBlock(width, heads) for _ in range(layers))
        self.ln_post = nn.LayerNorm(width)

    def attend(self, grid: Tensor, latents: Tensor) -> Tensor:
        """Grid cells B x N x C and latent tokens B x T x C -> B x (1 + N + T) x C, the class token first."""
        grid = torch.cat([expand_token(self.class_embedding, len(grid)), grid], dim=1) + self.positional_embedding
        latents = latents + self.latent_token_positional_embedding
        x = self.ln_pre(torch.cat([grid, latents], dim=1)).permute(1, 0, 2)
        for block in self.transformer:
            x = block(x)
        return x.permute(1, 0, 2)


class Encoder(ViT):
    def __init__(self, grid: int, patch: int, width: int, layers: int, heads: int, T: int, d: int):
        super().__init__(grid, width, layers, heads, T)
        self.patch_embed = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.conv_out = nn.Conv2d(width, d, kernel_size=1)

    def forward(self, images: Tensor, latent_tokens: Tensor) -> Tensor:
        """B x 3 x H x W -> B x T x d."""
        B, (T, width) = len(images), latent_tokens.shape
        x = self.patch_embed(images)
        x = x.reshape(B, width, -1).permute(0, 2, 1)
        x = self.ln_post(self.attend(x, expand_token(latent_tokens, B))[:, -T:])
        x = self.conv_out(x.reshape(B, width, T, 1))  # the published reshape, no transpose
        return x.reshape(B, -1, T).permute(0, 2, 1)


class Decoder(ViT):
    def __init__(self, grid: int, width: int, layers: int, heads: int, T: int, d: int, K_pixel: int, hidden: int):
        super().__init__(grid, width, layers, heads, T)
        self.grid = grid
        self.decoder_embed = nn.Linear(d, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.ffn = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.Tanh(), nn.Conv2d(hidden, K_pixel, 1))

    def forward(self, z_q: Tensor) -> Tensor:
        """B x T x d -> logits B x K_pixel x grid x grid."""
        B, N = len(z_q), self.grid**2
        x = self.attend(self.mask_token.repeat(B, N, 1), self.decoder_embed(z_q))
        x = self.ln_post(x[:, 1 : 1 + N])
        x = x.permute(0, 2, 1).reshape(B, -1, self.grid, self.grid)
        return self.ffn(x.contiguous())


class TiTok(nn.Module):
    def __init__(
        self,
        image_size: int,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        T: int,
        K: int,
        d: int,
        K_pixel: int,
        d_pixel: int,
        hidden: int,
        pixel_channels: int,
        pixel_multipliers: Sequence[int],
        pixel_blocks: int,
    ):
        super().__init__()
        grid = image_size // patch
        self.latent_tokens = nn.Parameter(torch.zeros(T, width))
        self.encoder = Encoder(grid, patch, width, layers, heads, T, d)
        self.decoder = Decoder(grid, width, layers, heads, T, d, K_pixel, hidden)
        self.quantize = Embedding(K, d)
        self.pixel_quantize = Embedding(K_pixel, d_pixel)
        self.pixel_decoder = PixelDecoder(pixel_channels, pixel_multipliers, pixel_blocks, d_pixel)

    def encode(self, images: Tensor) -> Tensor:
        """B x 3 x H x W in [0, 1] -> B x T x d."""
        return self.encoder(images, self.latent_tokens)

    def decode(self, z_q: Tensor) -> Tensor:
        """B x T x d -> B x 3 x H x W."""
        weights = self.decoder(z_q).softmax(1)
        return self.pixel_decoder(torch.einsum("nchw,cd->ndhw", weights, self.pixel_quantize.embedding.weight))
