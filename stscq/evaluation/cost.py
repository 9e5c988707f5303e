"""What a codec costs, counted from its modules: multiply-accumulates, parameters, storage at the edge.

Nothing is computed: models are built on torch's meta device, so published sizes take no memory and no weights.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from stscq.backbones import Tokenizer, build
from stscq.evaluation.int8_codebooks import int8_mib
from stscq.quantization.router import Router

MIB = 2**20


class Macs(NamedTuple):
    """Multiply-accumulates for one image, convolutions, matrix products and attention; the codebook search is apart."""

    encoder: int
    decoder: int


class Way(NamedTuple):
    """A way of coding: M groups of codebooks of K entries each, one for all tokens when `shared`.

    model: sizes of the tokenizer, image_size among them. selection: nn searches all groups; cr holds and searches one,
    the router's. rank: features of the router.
    """

    model: Mapping[str, Any]
    M: int
    K: int
    shared: bool
    selection: str
    rank: int


class Parameters(NamedTuple):
    """How many numbers each part holds; codebooks and router as they are trained, all groups."""

    encoder: int
    decoder: int
    codebooks: int
    router: int


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


def count_parameters(tokenizer: Tokenizer, way: Way) -> Parameters:
    """Of the encoder, of what decodes, of all codebooks, and of the router; one group needs no router."""
    decoder = sum(p.numel() for part in tokenizer.decoder_parts() for p in part.parameters())
    encoder = sum(p.numel() for p in tokenizer.encoder_parameters())
    books = 1 if way.shared else tokenizer.T
    codebooks = way.M * books * way.K * tokenizer.d
    router = 0
    if way.M > 1:
        with torch.device("meta"):
            router = sum(p.numel() for p in Router(way.M, tokenizer.T, tokenizer.d, way.rank).parameters())
    return Parameters(encoder, decoder, codebooks, router)


def codebooks_mib(groups: int, books: int, K: int, d: int) -> float:
    """float32 size of `groups` groups of `books` codebooks (T, or 1 shared by all tokens) of K entries x d channels."""
    return 4 * groups * books * K * d / MIB


def edge_mib(parameters: Parameters, way: Way) -> float:
    """float32 size of what a sender must hold: the encoder, the codebooks that it searches, and the router."""
    held = parameters.codebooks * held_groups(way) // way.M
    return 4 * (parameters.encoder + held + parameters.router) / MIB


def edge_int8_mib(parameters: Parameters, way: Way, tokenizer: Tokenizer) -> float:
    """The same with int8 codebooks, as stscq.evaluation.int8_codebooks stores them; encoder and router stay float32."""
    books = 1 if way.shared else tokenizer.T
    rest = 4 * (parameters.encoder + parameters.router) / MIB
    return rest + int8_mib(held_groups(way), books, way.K, tokenizer.d)


def held_groups(way: Way) -> int:
    """Groups that a sender holds."""
    return way.M if way.selection == "nn" else 1
