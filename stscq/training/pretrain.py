"""Pretraining: a small tokenizer with one global codebook, from nothing, on a folder of faces.

What the published weights are at the paper's size; run once, its result is shipped with the project.

python -m stscq.training.pretrain --store data/pretrain/faces --model '{"family": "ibq", ...}' ...
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stscq.backbones import TiTok, Tokenizer, build
from stscq.backbones.base import fast_layout
from stscq.cli_tools import run
from stscq.data.splits import sample_rows
from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.device import Precision, own_device
from stscq.errors import CheckpointError, ParamsError
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.trained_codec import TrainedCodec, load_codec, on_device, tensors_of
from stscq.recognition.frozen import load_frozen, weights_file
from stscq.training.ahead import draws_of
from stscq.training.batches import Batches
from stscq.training.faces import recipe_of, rows_to_pretrain_on
from stscq.training.loop import Schedule, train_and_save
from stscq.training.losses import ImageLossWeights
from stscq.training.tokenizer_training import (
    TokenizerLossWeights,
    start_codebook,
    start_titok,
    tokenizer_loss,
    warm_up_loss,
)

VALIDATE_EVERY = 500
"""Steps between two points of the learning curve on the validation faces (a multiple of the log's 20)."""


def main(
    store: Path,
    out: Path,
    model: str,
    seed: int,
    steps: int,
    continuous_steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    codebook: float,
    commitment: float,
    entropy: float,
    continuous_share: float,
    validation: int,
    warm_up_steps: int = 0,
    precision: Precision = "fp32",
    pixel_decoder: Path | None = None,
    like: Path | None = None,
    start: Path | None = None,
    leave_out: Path | None = None,
    muon: bool = False,
    recogniser: Path | None = None,
    perceptual: float = 0.0,
    identity: float = 0.0,
    save_seconds: float = 60.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json and log.jsonl.

    The faces that LEAVE_OUT names (see stscq.evaluation.overlap) are not looked at. VALIDATION of the others, drawn by
    SEED, are not trained on: their PSNR is the learning curve. The first CONTINUOUS_STEPS leave all latents
    unquantised; then the codebook starts from their k-means centres, and CONTINUOUS_SHARE of every batch stays
    unquantised, so that the decoder keeps serving finer codebooks than this one. PIXEL_DECODER is a pretrained
    MaskGIT-VQGAN: a TiTok paints with its decoder, and matches its latents in the first WARM_UP_STEPS. LIKE is a
    finished pretraining of a similar model, whose tensors it starts from where they fit. START is a finished
    pretraining of the same MODEL that goes on with its codebook, so with 0 CONTINUOUS_STEPS. With MUON the matrices of
    a TiTok's transformers move by Muon. PERCEPTUAL and IDENTITY weigh the terms of a frozen RECOGNISER (see
    stscq.training.losses).
    Raises CheckpointError when START is of another model or CONTINUOUS_STEPS are not 0, ParamsError for MUON without a
    TiTok, for PERCEPTUAL or IDENTITY without a RECOGNISER, or for LIKE with START.
    """
    recipe = recipe_of(locals())
    weights = TokenizerLossWeights(codebook, commitment, entropy, ImageLossWeights(1.0, perceptual, identity))
    check_together(recogniser, weights.image, like, start)
    device = own_device()
    frozen = None if recogniser is None else load_frozen(recogniser, device)
    images, index = open_store(store)
    held_out, rows = rows_to_pretrain_on(index, leave_out, validation, seed)
    batches = Batches(images, rows, batch, seed, device)
    sample = images[sample_rows(rows, seed, most=512)]
    torch.manual_seed(seed)
    teacher = None if pixel_decoder is None else load_codec(pixel_decoder, device)[0]
    if start is not None:
        codec, recipe["images_before"] = go_on(start, model, continuous_steps, device)
    else:
        codec = from_nothing(json.loads(model), device)
        if teacher is not None and pixel_decoder is not None:
            start_titok(codec.tokenizer, teacher, pixel_decoder, sample, seed)
        if like is not None:
            take_what_fits(codec.tokenizer, load_codec(like, device)[0].tokenizer)
    tokenizer = codec.tokenizer
    tokenizer.compute_in(precision)
    if muon and not isinstance(tokenizer, TiTok):
        raise ParamsError(f"muon moves the matrices of transformers, and the model is {type(tokenizer).__name__}")
    before = [folder / "weights.safetensors" for folder in (start, like, pixel_decoder) if folder is not None]
    before += [] if leave_out is None else [leave_out]
    before += [] if recogniser is None else [weights_file(recogniser)]
    draw = draws_of(batches)

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        if step == continuous_steps and start is None:
            start_codebook(codec, sample, seed)
        faces = draw(step, part).images
        if teacher is not None and step < warm_up_steps:
            return warm_up_loss(tokenizer, codec.codebooks.continuous(tokenizer.encode(faces)), teacher, faces)
        share = 1.0 if step < continuous_steps else continuous_share
        terms = tokenizer_loss(codec, faces, frozen, weights, share)
        if step % VALIDATE_EVERY == 0 or step == steps - 1:
            terms |= validate(codec, images[held_out], quantised=step >= continuous_steps)
        return terms

    train_and_save(
        nn.ModuleDict({"tokenizer": tokenizer, "codebooks": codec.codebooks}),
        loss_of_step,
        Schedule(steps, batch, lr, weight_decay, precision=precision, save_seconds=save_seconds),
        tensors=lambda: tensors_of(codec),
        recipe=recipe,
        inputs=[store / "images.npy", *before],
        out=out,
        matrices=tokenizer.matrices() if isinstance(tokenizer, TiTok) and muon else (),
    )


def check_together(recogniser: Path | None, weights: ImageLossWeights, like: Path | None, start: Path | None) -> None:
    """Raises ParamsError for arguments of `main` that do not go together."""
    if recogniser is None and (weights.perceptual or weights.identity):
        raise ParamsError("perceptual and identity compare what a recogniser says: name one, or set both to 0")
    if like is not None and start is not None:
        raise ParamsError("like and start: a pretraining starts from one of them")


def from_nothing(model: dict[str, Any], device: torch.device) -> TrainedCodec:
    """A tokenizer with random weights and one codebook."""
    tokenizer = fast_layout(build(**model))
    tokenizer.initialise()
    codebook = tokenizer.to(device).take_codebook()
    return on_device(TrainedCodec(tokenizer, Codebooks(codebook[None, None].clone(), tokenizer.metric), None), device)


def take_what_fits(tokenizer: Tokenizer, other: Tokenizer) -> None:
    """Set the tensors of a tokenizer to another's of the same names and shapes; leave the rest as it is."""
    own, others = tokenizer.state_dict(), other.state_dict()
    tokenizer.load_state_dict(own | {k: v for k, v in others.items() if k in own and own[k].shape == v.shape})


def go_on(start: Path, model: str, continuous_steps: int, device: torch.device) -> tuple[TrainedCodec, int]:
    """A finished pretraining, and how many pictures it has seen. Raises CheckpointError, see `main`."""
    codec, recipe = load_codec(start, device)
    if json.loads(recipe["model"]) != json.loads(model):
        raise CheckpointError(f"{start}: of another model, {recipe['model']}")
    if continuous_steps:
        raise CheckpointError(f"{start}: goes on with its codebook; set continuous_steps to 0, not {continuous_steps}")
    return codec, images_seen(recipe)


def images_seen(recipe: Mapping[str, Any]) -> int:
    """By a pretraining, and by those that it went on from."""
    return int(recipe["steps"] * recipe["batch"] + recipe.get("images_before", 0))


@torch.no_grad()
def validate(codec: TrainedCodec, faces: np.ndarray, quantised: bool, batch: int = 50) -> dict[str, Tensor]:
    """PSNR in dB, mean over faces (N x S x S x 3 uint8): unquantised, and through the codebook if QUANTISED."""
    tokenizer = codec.tokenizer
    found: dict[str, list[Tensor]] = {"psnr": [], "psnr_quantised": []}
    for i in range(0, len(faces), batch):
        images = to_float(faces[i : i + batch], tokenizer.device)
        z_e = tokenizer.encode(images)
        found["psnr"].append(psnr(tokenizer.decode(codec.codebooks.continuous(z_e)), images))
        if quantised:
            found["psnr_quantised"].append(psnr(tokenizer.decode(codec.codebooks(z_e).z_q), images))
    return {name: torch.cat(parts).mean() for name, parts in found.items() if parts}


def psnr(reconstruction: Tensor, images: Tensor) -> Tensor:
    """B x 3 x S x S in [0, 1] -> B, in dB."""
    return -10 * (reconstruction.clamp(0, 1) - images).square().mean((1, 2, 3)).log10()


if __name__ == "__main__":
    run(main)
