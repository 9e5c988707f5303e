"""How a tokenizer (encoder, decoder and one codebook) starts, and its loss: for pretraining and fine-tuning."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stscq.backbones import MaskGITVQGAN, TiTok, Tokenizer, build
from stscq.backbones.base import fast_layout
from stscq.backbones.pretrained import load_exactly, read_weights
from stscq.errors import CheckpointError, ParamsError
from stscq.parallel import gathered, take_from_main
from stscq.quantization.codebooks import Quantised, straight_through
from stscq.quantization.index_propagation import entry_entropy_loss, index_propagation_loss
from stscq.quantization.initialise import global_from_latents, grow
from stscq.quantization.losses import codebook_loss, commitment_loss
from stscq.quantization.trained_codec import TrainedCodec
from stscq.recognition.frozen import Frozen
from stscq.training.adversary import Against
from stscq.training.encode import encode_rows
from stscq.training.losses import ImageLossWeights, image_losses
from stscq.training.lpips import Lpips


class TokenizerLossWeights(NamedTuple):
    """Of the terms of a tokenizer's loss; entropy is IBQ's alone."""

    codebook: float
    commitment: float
    entropy: float
    image: ImageLossWeights


def tokenizer_loss(
    codec: TrainedCodec,
    faces: Tensor,
    frozen: Frozen | None,
    weights: TokenizerLossWeights,
    continuous_share: float,
    lpips: Lpips | None = None,
    against: Against | None = None,
) -> dict[str, Tensor]:
    """Named terms and their weighted sum `loss`, with one global codebook. faces: B x 3 x S x S in [0, 1].

    The first `continuous_share` of the batch reaches the decoder unquantised, the rest through the codebook with
    gradients straight through; codebook, commitment and entropy weigh the terms of that rest.
    """
    tokenizer, codebooks = codec.tokenizer, codec.codebooks
    z_e = tokenizer.encode(faces)
    first = round(continuous_share * len(faces))
    z = codebooks.continuous(z_e[:first])
    quantised = None if first == len(faces) else codebooks(z_e[first:])
    z_q = z if quantised is None else torch.cat([z, straight_through(quantised, tokenizer.metric)])
    reconstruction = tokenizer.decode(z_q)
    terms = image_losses(reconstruction, faces, frozen, weights.image, lpips)
    if quantised is not None:
        terms["codebook"] = codebook_loss(quantised.z, quantised.z_q)
        terms["loss"] = terms["loss"] + quantisation_loss(quantised, weights)
    elif tokenizer.metric == "inner":
        # Latents near the sphere where the entries will start: a longer latent would only favour long entries.
        terms["loss"] = terms["loss"] + weights.commitment * commitment_loss(z_e, z)
    return terms if against is None else against(terms, reconstruction, faces)


def quantisation_loss(quantised: Quantised, weights: TokenizerLossWeights) -> Tensor:
    """Pulls entries and latents together: as VQ-VAE does, or as IBQ's authors do, whose beta is `commitment`."""
    z, z_q = quantised.z, quantised.z_q
    if quantised.propagation is None:
        return weights.codebook * codebook_loss(z, z_q) + weights.commitment * commitment_loss(z, z_q)
    logits, entries = quantised.propagation
    learnt = index_propagation_loss(z, z_q, entries, beta=weights.commitment)
    return weights.codebook * learnt + weights.entropy * entry_entropy_loss(logits)


def start_tokenizer(
    model: dict[str, Any], published: Path | None, faces: np.ndarray, seed: int, device: torch.device
) -> tuple[Tokenizer, Tensor]:
    """A tokenizer and its global codebook (K x d), from a file of published weights or, without one, from nothing.

    A published codebook with fewer than the model's K entries grows by latents of `faces` (N x S x S x 3 uint8) that it
    serves badly: the paper tunes MaskGIT-VQGAN, published with 1024 entries, with 4096.
    Raises CheckpointError when the file does not fit the model, ParamsError when it has more than K entries.
    """
    if published is None:
        tokenizer = fast_layout(build(**model))
        tokenizer.initialise()
        return tokenizer.to(device), tokenizer.take_codebook()
    tensors = read_weights(published)
    K = len(tensors.get("quantize.embedding.weight", ()))
    if model["K"] < K:
        raise ParamsError(f"model.K = {model['K']} is less than the {K} entries of {published}")
    tokenizer = fast_layout(build(**{**model, "K": max(1, K)}))
    load_exactly(tokenizer, tensors, published)
    book = tokenizer.to(device).take_codebook()
    z_e = encode_rows(tokenizer, faces, np.arange(len(faces)))
    return tokenizer, grow(book, z_e, model["K"], tokenizer.metric, seed)


def warm_up_loss(tokenizer: Tokenizer, z: Tensor, teacher: TrainedCodec, faces: Tensor) -> dict[str, Tensor]:
    """TiTok's warm-up: match MaskGIT-VQGAN on the same faces, before any pixel is painted. z: B x T x d.

    Its authors predict MaskGIT-VQGAN's indices; we match the mixture of its entries to its latents (as a share of their
    variance), from which a small model trained for a minute learns far more: neighbouring indices are near arbitrary.
    """
    assert isinstance(tokenizer, TiTok)
    with torch.no_grad():
        target = teacher.tokenizer.encode(faces)
    error = (tokenizer.mixture(z).flatten(2).mT - target).square().mean()
    return {"loss": error / gathered(target).var()}


def start_titok(tokenizer: Tokenizer, teacher: TrainedCodec, folder: Path, faces: np.ndarray, seed: int) -> None:
    """Make a TiTok paint with the decoder of the trained MaskGIT-VQGAN in `folder`, as its authors do.

    The entries that it mixes are k-means centres of that model's latents on some faces (N x S x S x 3 uint8).

    Raises CheckpointError when the tokenizer is no TiTok, or the sizes differ.
    """
    if not isinstance(tokenizer, TiTok) or not isinstance(teacher.tokenizer, MaskGITVQGAN):
        raise CheckpointError(f"{folder}: a pixel decoder goes from a MaskGIT-VQGAN to a TiTok")
    if tokenizer.decoder.grid != teacher.tokenizer.grid:
        raise CheckpointError(
            f"{folder}: a grid of {teacher.tokenizer.grid}, TiTok's is {tokenizer.decoder.grid}; its patch decides that"
        )
    try:
        tokenizer.pixel_decoder.load_state_dict(teacher.tokenizer.decoder.state_dict())
        pixel_book = tokenizer.pixel_quantize.embedding.weight.data
        latents = encode_rows(teacher.tokenizer, faces, np.arange(len(faces)))
        pixel_book.copy_(global_from_latents(latents, len(pixel_book), teacher.tokenizer.metric, seed))
    except RuntimeError as problem:
        first = str(problem).splitlines()[:2][-1].strip()  # one difference in shapes is enough to act on
        raise CheckpointError(f"{folder}: does not fit TiTok's pixel decoder ({first})") from problem


@torch.no_grad()
def start_codebook(codec: TrainedCodec, faces: np.ndarray, seed: int) -> None:
    """Set the global codebook to k-means centres of the latents of some faces (N x S x S x 3 uint8)."""
    z_e = encode_rows(codec.tokenizer, faces, np.arange(len(faces)))
    codec.codebooks.weight[0, 0] = global_from_latents(z_e, codec.codebooks.K, codec.tokenizer.metric, seed)
    take_from_main([codec.codebooks.weight])
