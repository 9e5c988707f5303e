"""TiTok: an image as a short 1D sequence of tokens (Yu et al., 2024).

A ViT writes the image into T latent tokens; a second ViT reads them and predicts, for each cell of a grid, logits over
MaskGIT-VQGAN's codebook; the softmax mixture of its entries is painted by MaskGIT-VQGAN's decoder. Names follow the
public model, so that its weights load key by key. Axes: B images, N grid cells, T tokens, d latent channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from stscq.backbones.base import Embedding, Tokenizer
from stscq.backbones.maskgit_vqgan import ConvDecoder


def small_random(*shape: int) -> nn.Parameter:
    """Of variance 1 / shape[-1]. Uniform: normal numbers on the meta device, where codecs are built before they are
    loaded, import seconds of torch._dynamo."""
    bound = (3 / shape[-1]) ** 0.5
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention, B x heads x L x c each -> the same.

    Through torch's fused kernel, but for bfloat16 on CPUs: there it takes five times as long for a few hundred tokens.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        return (q * q.shape[-1] ** -0.5 @ k.mT).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


class Attention(nn.Module):
    """Self-attention with the parameter names of `nn.MultiheadAttention`."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor) -> Tensor:
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = rearrange(qkv, "B L (three heads c) -> three B heads L c", three=3, heads=self.heads)
        return self.out_proj(rearrange(attend(q, k, v), "B heads L c -> B L (heads c)"))


class MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Encoder(nn.Module):
    """B x 3 x H x W in [0, 1] -> B x T x d, reading the image into the latent tokens."""

    def __init__(self, grid: int, patch: int, width: int, layers: int, heads: int, T: int, d: int):
        super().__init__()
        self.class_embedding = small_random(1, width)
        self.positional_embedding = small_random(grid**2 + 1, width)
        self.latent_token_positional_embedding = small_random(T, width)
        self.patch_embed = nn.Conv2d(3, width, patch, stride=patch)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_post = nn.LayerNorm(width)
        self.conv_out = nn.Conv2d(width, d, 1)

    def forward(self, images: Tensor, latent_tokens: Tensor) -> Tensor:
        # Not len(images), which torch.export takes for a constant.
        B, (T, width) = images.shape[0], latent_tokens.shape
        patches = rearrange(self.patch_embed(images), "B c h w -> B (h w) c")
        grid = torch.cat([self.class_embedding.expand(B, 1, -1), patches], 1) + self.positional_embedding
        latents = (latent_tokens + self.latent_token_positional_embedding).expand(B, -1, -1)
        x = self.ln_pre(torch.cat([grid, latents], 1))
        for block in self.transformer:
            x = block(x)
        x = self.ln_post(x[:, -T:])
        # The released weights were trained with a reshape, not a transpose, from (B, T, width) to (B, width, T, 1).
        x = self.conv_out(x.reshape(B, width, T, 1))
        return rearrange(x, "B d T 1 -> B T d")


class Decoder(nn.Module):
    """B x T x d -> logits over the pixel codebook, B x K_pixel x grid x grid."""

    def __init__(self, grid: int, width: int, layers: int, heads: int, T: int, d: int, K_pixel: int, hidden: int):
        super().__init__()
        self.grid = grid
        self.class_embedding = small_random(1, width)
        self.positional_embedding = small_random(grid**2 + 1, width)
        self.mask_token = small_random(1, 1, width)
        self.latent_token_positional_embedding = small_random(T, width)
        self.decoder_embed = nn.Linear(d, width)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_post = nn.LayerNorm(width)
        self.ffn = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.Tanh(), nn.Conv2d(hidden, K_pixel, 1))

    def forward(self, z_q: Tensor) -> Tensor:
        B, N = z_q.shape[0], self.grid**2
        masks = repeat(self.mask_token, "1 1 c -> B N c", B=B, N=N)
        grid = torch.cat([self.class_embedding.expand(B, 1, -1), masks], 1) + self.positional_embedding
        latents = self.decoder_embed(z_q) + self.latent_token_positional_embedding
        x = self.ln_pre(torch.cat([grid, latents], 1))
        for block in self.transformer:
            x = block(x)
        x = self.ln_post(x[:, 1 : N + 1])
        return self.ffn(rearrange(x, "B (h w) c -> B c h w", h=self.grid))


class TiTok(Tokenizer):
    """Published sizes: image 256, patch 16, K 4096, d 12, K_pixel 1024, hidden twice the width; small has width 512,
    8 layers, 8 heads and T = 128, base 768, 12, 12 and 64, large 1024, 24, 16 and 32."""

    metric = "cosine"

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
        pixel_stem: int = 1,
    ):
        super().__init__()
        grid = image_size // patch
        self.T, self.d = T, d
        self.latent_tokens = small_random(T, width)
        self.encoder = Encoder(grid, patch, width, layers, heads, T, d)
        self.decoder = Decoder(grid, width, layers, heads, T, d, K_pixel, hidden)
        self.quantize = Embedding(K, d)
        self.pixel_quantize = Embedding(K_pixel, d_pixel)
        self.pixel_decoder = ConvDecoder(pixel_channels, pixel_multipliers, pixel_blocks, d_pixel, pixel_stem)

    def to_latents(self, images: Tensor) -> Tensor:
        return self.encoder(images, self.latent_tokens)

    def logits(self, z_q: Tensor) -> Tensor:
        """B x T x d -> logits over MaskGIT-VQGAN's codebook, B x K_pixel x grid x grid."""
        return self.decoder(z_q)

    def mixture(self, z_q: Tensor) -> Tensor:
        """B x T x d -> entries mixed by the softmax of the logits, B x d_pixel x h x w."""
        entries = self.pixel_quantize.embedding.weight
        return torch.einsum("B K h w, K d -> B d h w", self.logits(z_q).softmax(1), entries)

    def to_images(self, z_q: Tensor) -> Tensor:
        return self.pixel_decoder(self.mixture(z_q))

    @torch.no_grad()
    def initialise(self) -> None:
        """Content and positions reach the latent tokens, and these the grid, from the first step on.

        Attention with the weights that suit long training is near uniform and small beside the residual path: a demo
        model's latents then did not depend on the image after hundreds of steps. So positions have unit scale, patches
        are centred on mid-grey, attention looks at few tokens, and what it reads weighs as much as what was there.
        """
        for part in (self.encoder, self.decoder):
            part.positional_embedding.normal_()
            part.latent_token_positional_embedding.normal_()
            for block in part.transformer:
                assert isinstance(block, Block)
                block.attn.in_proj_weight.mul_(3)
                block.attn.out_proj.weight.mul_(3)
        self.decoder.decoder_embed.weight.normal_()
        self.encoder.patch_embed.weight.mul_(3)
        assert self.encoder.patch_embed.bias is not None
        self.encoder.patch_embed.bias.copy_(-0.5 * self.encoder.patch_embed.weight.sum((1, 2, 3)))

    def matrices(self) -> list[nn.Parameter]:
        """Of the transformers: the weights that Muon may move."""
        blocks = (*self.encoder.transformer, *self.decoder.transformer)
        return [weight for block in blocks for weight in block.parameters() if weight.ndim == 2]

    def encoder_parameters(self) -> list[nn.Parameter]:
        return [*self.encoder.parameters(), self.latent_tokens]

    def decoder_parts(self) -> list[nn.Module]:
        return [self.decoder, self.pixel_quantize, self.pixel_decoder]
