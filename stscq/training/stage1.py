"""Stage 1: (fine-)tune a tokenizer on faces with one global codebook.

python -m stscq.training.stage1 --store data/demo/faces --model '{"family": "titok", ...}' ...
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from stscq.backbones import MaskGITVQGAN, TiTok, Tokenizer, build
from stscq.backbones.base import fast_layout
from stscq.backbones.pretrained import load_exactly, read_weights
from stscq.cli_tools import run
from stscq.data.splits import sample_rows
from stscq.device import Precision, own_device
from stscq.errors import CheckpointError, ParamsError
from stscq.quantization.codebooks import Codebooks, straight_through
from stscq.quantization.initialise import global_from_latents, grow
from stscq.quantization.losses import codebook_loss, commitment_loss, entry_entropy_loss
from stscq.quantization.trained_codec import TrainedCodec, load_codec, on_device, tensors_of
from stscq.recognition.frozen import Frozen, load_frozen, weights_file
from stscq.training.encode import encode_rows
from stscq.training.faces import recipe_of, training_batches
from stscq.training.loop import Schedule, train_and_save
from stscq.training.losses import ImageLossWeights, image_losses


def main(
    store: Path,
    split: Path,
    recogniser: Path,
    out: Path,
    model: str,
    seed: int,
    steps: int,
    continuous_steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    reconstruction: float,
    perceptual: float,
    identity: float,
    codebook: float,
    commitment: float,
    entropy: float,
    accumulate: int = 1,
    precision: Precision = "fp32",
    pixel_decoder: Path | None = None,
    published: Path | None = None,
    save_seconds: float = 30.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json and log.jsonl.

    The first CONTINUOUS_STEPS leave the latents unquantised (for a tokenizer trained from nothing); then the codebook
    starts from their k-means centres. A step takes ACCUMULATE batches. PIXEL_DECODER is a finished stage 1 of
    MaskGIT-VQGAN: a TiTok paints with its decoder, and matches its latents in the first CONTINUOUS_STEPS. PUBLISHED is
    a file of a public model's weights to start from instead of from nothing; the codebook then grows from its entries
    to the K of MODEL.
    """
    recipe = recipe_of(locals())
    device = own_device()
    batches = training_batches(store, split, batch, seed, device)
    frozen = load_frozen(recogniser, device)
    weights = Stage1Weights(codebook, commitment, entropy, ImageLossWeights(reconstruction, perceptual, identity))
    torch.manual_seed(seed)
    sample = batches.images[sample_rows(batches.rows, seed, most=128)]
    tokenizer, book = start_tokenizer(json.loads(model), published, sample, seed, device)
    tokenizer.precision = precision
    inputs = [store / "images.npy", split, weights_file(recogniser), *([published] if published else [])]
    teacher = None
    if pixel_decoder is not None:
        teacher, _ = load_codec(pixel_decoder, device)
        start_titok(tokenizer, teacher, pixel_decoder, sample, seed)
        inputs.append(pixel_decoder / "weights.safetensors")
    codec = on_device(TrainedCodec(tokenizer, Codebooks(book[None, None].clone(), tokenizer.metric), None), device)

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        faces = batches.draw(step, part).images
        if step < continuous_steps:
            if teacher is not None:
                return warm_up_loss(tokenizer, codec.codebooks.continuous(tokenizer.encode(faces)), teacher, faces)
            return tokenizer_loss(codec, faces, frozen, weights, continuous_share=1.0)
        if step == continuous_steps > 0 and part == 0:
            start_codebook(codec, sample, seed)
        return tokenizer_loss(codec, faces, frozen, weights, continuous_share=0.0)

    train_and_save(
        nn.ModuleDict({"tokenizer": tokenizer, "codebooks": codec.codebooks}),
        loss_of_step,
        Schedule(steps, batch, lr, weight_decay, accumulate, precision, save_seconds),
        tensors=lambda: tensors_of(codec),
        recipe=recipe,
        inputs=inputs,
        out=out,
    )


class Stage1Weights(NamedTuple):
    """Of the terms of a tokenizer's loss; entropy is IBQ's alone."""

    codebook: float
    commitment: float
    entropy: float
    image: ImageLossWeights


def tokenizer_loss(
    codec: TrainedCodec, faces: Tensor, frozen: Frozen | None, weights: Stage1Weights, continuous_share: float
) -> dict[str, Tensor]:
    """Named terms and their weighted sum `loss`, with one global codebook. faces: B x 3 x S x S in [0, 1].

    The first `continuous_share` of the batch reaches the decoder unquantised, the rest through the codebook with
    gradients straight through; codebook, commitment and entropy weigh the terms of that rest.
    """
    tokenizer, codebooks = codec.tokenizer, codec.codebooks
    z_e = tokenizer.encode(faces)
    first = round(continuous_share * len(faces))
    z = codebooks.continuous(z_e[:first])
    if first == len(faces):
        terms = image_losses(tokenizer.decode(z), faces, frozen, weights.image)
        if tokenizer.metric == "inner":
            # Latents near the sphere where the entries will start: a longer latent would only favour long entries.
            terms["loss"] = terms["loss"] + weights.commitment * commitment_loss(z_e, z)
        return terms
    quantised = codebooks(z_e[first:])
    z_q = straight_through(quantised, tokenizer.metric)
    terms = image_losses(tokenizer.decode(torch.cat([z, z_q])), faces, frozen, weights.image)
    terms["codebook"] = codebook_loss(quantised.z, quantised.z_q)
    terms["loss"] = (
        terms["loss"]
        + weights.codebook * terms["codebook"]
        + weights.commitment * commitment_loss(quantised.z, quantised.z_q)
    )
    if quantised.soft is not None:
        terms["loss"] = terms["loss"] + weights.entropy * entry_entropy_loss(quantised.soft)
    return terms


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
    return {"loss": error / target.var()}


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


if __name__ == "__main__":
    run(main)
