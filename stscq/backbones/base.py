"""What every backbone offers: encode to tokens, decode from tokens, and one global codebook.

Axes: B images, T tokens, d latent channels, K entries.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from stscq.device import Precision, mixed

Metric = Literal["cosine", "euclidean", "inner"]


class Embedding(nn.Module):
    """Holds the K x d global codebook under the published name `....embedding.weight`."""

    def __init__(self, K: int, d: int):
        super().__init__()
        # Not by nn.Embedding(K, d): its normal numbers import seconds of torch._dynamo on the meta device.
        self.embedding = nn.Embedding.from_pretrained(torch.empty(K, d), freeze=False)
        nn.init.uniform_(self.embedding.weight, -1.0 / K, 1.0 / K)


class Tokenizer(nn.Module, ABC):
    """An image tokenizer; quantising is `stscq.quantization`'s business.

    Attributes: T (tokens an image), d (channels a token), metric (how tokens are compared with entries), quantize (the
    published global codebook, until it is taken), precision (of the arithmetic inside; float32 goes in and comes out).
    """

    T: int
    d: int
    metric: Metric
    quantize: Embedding
    precision: Precision = "fp32"

    def compute_in(self, precision: Precision) -> None:
        """Set the precision, and the layout of the weights that is fastest in it: see `fast_layout`."""
        self.precision = precision
        fast_layout(self)

    def encode(self, images: Tensor) -> Tensor:
        """Images B x 3 x H x W in [0, 1] -> latents z_e, B x T x d, before quantisation."""
        with mixed(images.device, self.precision):
            z_e = self.to_latents(images)
        return z_e.float()

    def decode(self, z_q: Tensor) -> Tensor:
        """Quantised latents B x T x d -> images B x 3 x H x W, meant for [0, 1] but not clamped."""
        with mixed(z_q.device, self.precision):
            images = self.to_images(z_q)
        return images.float()

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @abstractmethod
    def to_latents(self, images: Tensor) -> Tensor:
        """The arithmetic of `encode`, in any precision."""

    @abstractmethod
    def to_images(self, z_q: Tensor) -> Tensor:
        """The arithmetic of `decode`, in any precision."""

    @abstractmethod
    def initialise(self) -> None:
        """Set the weights for training from nothing; published weights take the place of that."""

    def take_codebook(self) -> Tensor:
        """Hand over the K x d global codebook, for good: from here on `stscq.quantization.Codebooks` owns it."""
        weight = self.quantize.embedding.weight.detach()
        del self.quantize
        return weight

    @abstractmethod
    def encoder_parameters(self) -> list[nn.Parameter]:
        """What turns images into latents: what a sender holds besides codebooks and router."""

    @abstractmethod
    def decoder_parts(self) -> list[nn.Module]:
        """What stage 3 tunes."""


def fast_layout(tokenizer: Tokenizer) -> Tokenizer:
    """Convolutions on CPUs and tensor cores run faster with channels last, but for reduced precision on CPUs, where
    group norms then take several times as long; results agree to rounding."""
    reduced = tokenizer.precision != "fp32" and tokenizer.device.type == "cpu"
    layout = torch.contiguous_format if reduced else torch.channels_last
    return tokenizer.to(memory_format=layout)  # type: ignore[call-overload, no-any-return]


def channels_where_fast(x: Tensor) -> Tensor:
    """B x C x H x W, the same values in the layout of `fast_layout`: what goes into the first convolution decides."""
    return x.contiguous() if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") else x
