"""What a codec costs, counted from its modules: multiply-accumulates, parameters, storage at the edge.

Nothing is computed: models are built on torch's meta device, so published sizes take no memory and no weights.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from stscq.backbones import Tokenizer, build
from stscq.quantization.router import Router

MIB = 2**20


class Macs(NamedTuple):
    """Multiply-accumulates for one image, convolutions, matrix products and attention; the codebook search is apart."""

    encoder: int
    decoder: int


def on_meta(model: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of these sizes, without weights."""
    with torch.device("meta"):
        return build(**model).eval()


@torch.no_grad()
def count_macs(tokenizer: Tokenizer, image_size: int) -> Macs:
    """For one image of image_size x image_size. The tokenizer must be on the meta device."""
    encoder, decoder = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with encoder:
        tokenizer.encode(torch.zeros(1, 3, image_size, image_size, device="meta"))
    with decoder:
        tokenizer.decode(torch.zeros(1, tokenizer.T, tokenizer.d, device="meta"))
    # The counter gives floating-point operations, two for each multiply-accumulate.
    return Macs(encoder.get_total_flops() // 2, decoder.get_total_flops() // 2)


def encoder_mib(tokenizer: Tokenizer) -> float:
    """float32 size of what turns images into latents."""
    return 4 * sum(p.numel() for p in tokenizer.encoder_parameters()) / MIB


def codebooks_mib(groups: int, books: int, K: int, d: int) -> float:
    """float32 size of `groups` groups of `books` codebooks (T, or 1 shared by all tokens) of K entries x d channels."""
    return 4 * groups * books * K * d / MIB


def router_mib(M: int, T: int, d: int, rank: int) -> float:
    """float32 size of the router; 0 with one group, which needs none."""
    if M == 1:
        return 0.0
    with torch.device("meta"):
        return 4 * sum(p.numel() for p in Router(M, T, d, rank).parameters()) / MIB


def edge_mib(tokenizer: Tokenizer, M: int, K: int, shared: bool, selection: str, rank: int) -> float:
    """float32 size of what a sender must hold: the encoder, the codebooks it searches, and the router.

    selection: nn searches all M groups, cr the one that the router picked.
    """
    groups = M if selection == "nn" else 1
    books = 1 if shared else tokenizer.T
    codebooks = codebooks_mib(groups, books, K, tokenizer.d)
    return encoder_mib(tokenizer) + codebooks + router_mib(M, tokenizer.T, tokenizer.d, rank)
