"""What a codec costs, counted from its modules: multiply-accumulates, parameters, storage at the edge.

Nothing is computed: models are built on torch's meta device, so published sizes take no memory and no weights.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from stscq.backbones import Tokenizer, build
from stscq.evaluation.int8_codebooks import MIB, int8_mib
from stscq.quantization.router import Router


class Macs(NamedTuple):
    """Multiply-accumulates for one image, convolutions, matrix products and attention; the codebook search is apart."""

    encoder: int
    decoder: int


class CodingScheme(NamedTuple):
    """M groups of codebooks of K entries each, one codebook for all tokens when `shared`.

    model: sizes of the tokenizer, image_size among them. selection: nn searches all groups; router holds and searches
    one, the router's. rank: features of the router.
    """

    model: Mapping[str, Any]
    M: int
    K: int
    shared: bool
    selection: str
    rank: int

    @property
    def held_groups(self) -> int:
        """Groups that a sender holds."""
        return self.M if self.selection == "nn" else 1

    def codebooks_per_group(self, T: int) -> int:
        """One for each of T tokens, or one that they share."""
        return 1 if self.shared else T


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


def count_parameters(tokenizer: Tokenizer, scheme: CodingScheme) -> Parameters:
    """Numbers in the encoder, in what decodes, in all codebooks, and in the router; one group needs no router."""
    decoder = sum(p.numel() for part in tokenizer.decoder_parts() for p in part.parameters())
    encoder = sum(p.numel() for p in tokenizer.encoder_parameters())
    codebooks = scheme.M * scheme.codebooks_per_group(tokenizer.T) * scheme.K * tokenizer.d
    router = 0
    if scheme.M > 1:
        with torch.device("meta"):
            router = sum(p.numel() for p in Router(scheme.M, tokenizer.T, tokenizer.d, scheme.rank).parameters())
    return Parameters(encoder, decoder, codebooks, router)


def codebooks_mib(M: int, S: int, K: int, d: int) -> float:
    """float32 size of M groups of S codebooks (T, or 1 shared by all tokens) of K entries x d channels."""
    return 4 * M * S * K * d / MIB


def edge_mib(parameters: Parameters, scheme: CodingScheme) -> float:
    """float32 size of what a sender must hold: the encoder, the codebooks that it searches, and the router."""
    held = parameters.codebooks * scheme.held_groups // scheme.M
    return 4 * (parameters.encoder + held + parameters.router) / MIB


def edge_int8_mib(parameters: Parameters, scheme: CodingScheme, tokenizer: Tokenizer) -> float:
    """The same with int8 codebooks, as stscq.evaluation.int8_codebooks stores them; encoder and router stay float32."""
    rest = 4 * (parameters.encoder + parameters.router) / MIB
    codebooks = scheme.codebooks_per_group(tokenizer.T)
    return rest + int8_mib(scheme.held_groups, codebooks, scheme.K, tokenizer.d)
