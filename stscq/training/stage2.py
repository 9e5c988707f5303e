"""Stage 2: with encoder and decoder frozen, train the codebooks and the router.

python -m stscq.training.stage2 --start models/demo/titok_s/stage1/seed1 --groups 16 --entries 16 ...
"""

from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from stscq.cli_tools import run
from stscq.data.splits import sample_rows
from stscq.device import Precision, own_device
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.initialise import token_specific
from stscq.quantization.losses import RouterLossWeights, codebook_loss, entry_entropy_loss, router_losses
from stscq.quantization.revival import Revival
from stscq.quantization.router import Router
from stscq.quantization.search import Assignment, group_errors, normalise
from stscq.quantization.trained_codec import TrainedCodec, load_codec, on_device, tensors_of
from stscq.recognition.frozen import Frozen, load_frozen, weights_file
from stscq.training.batches import generator
from stscq.training.encode import encode_rows
from stscq.training.faces import recipe_of, training_batches
from stscq.training.lazy_adam import large_zeros
from stscq.training.loop import Schedule, train_and_save
from stscq.training.losses import ImageLossWeights, image_losses

REVIVE_UNTIL = 0.6
"""Share of the steps in which idle entries are revived; the rest lets them settle."""


def main(
    store: Path,
    split: Path,
    recogniser: Path,
    start: Path,
    out: Path,
    shared: bool,
    groups: int,
    entries: int,
    selection: Literal["router", "nn"],
    seed: int,
    steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    codebook: float,
    entropy: float,
    reconstruction: float,
    perceptual: float,
    identity: float,
    balance: float,
    confidence: float,
    expected_error: float,
    rank: int,
    jitter: float,
    revive_every: int,
    precision: Precision = "fp32",
    save_seconds: float = 30.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json and log.jsonl.

    --shared keeps the one global codebook and trains it on (the compute-matched baseline); otherwise GROUPS groups of
    token-specific codebooks with ENTRIES entries each start from it. SELECTION picks an image's group in training.
    Every REVIVE_EVERY steps (0: never) idle entries get a second chance, those of the baseline as well. Codebooks move
    by a lazy Adam, without weight decay; WEIGHT_DECAY is the router's.
    """
    recipe = recipe_of(locals())
    device = own_device()
    batches = training_batches(store, split, batch, seed, device)
    frozen = load_frozen(recogniser, device)
    weights = Stage2Weights(
        codebook,
        entropy,
        RouterLossWeights(balance, confidence, expected_error),
        ImageLossWeights(reconstruction, perceptual, identity),
    )
    before, before_recipe = load_codec(start, device)
    tokenizer = before.tokenizer.requires_grad_(False)
    tokenizer.precision = precision
    torch.manual_seed(seed)
    latents = encode_rows(tokenizer, batches.images, sample_rows(batches.rows, seed))
    book = before.codebooks.weight.detach()[0, 0]
    weight, router = before.codebooks.weight.detach(), None
    if not shared:
        weight = token_specific(book, latents, entries, groups, tokenizer.metric, jitter, seed)
        router = Router(groups, tokenizer.T, tokenizer.d, rank) if groups > 1 and selection == "router" else None
    weight = large_zeros(weight.shape, device).copy_(weight)
    codec = on_device(TrainedCodec(tokenizer, Codebooks(weight, tokenizer.metric, sparse=True), router), device)
    revival = Revival(codec.codebooks).to(device)

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        if revive_every and 0 < step < REVIVE_UNTIL * steps and step % revive_every == 0:
            revival.revive(codec.codebooks, latents, generator(seed, "revive", step))
        faces = batches.draw(step, part).images
        with torch.no_grad():
            z_e = tokenizer.encode(faces)
        terms, assignment = stage2_loss(codec, z_e, faces, frozen, weights)
        revival.count(assignment)
        return terms

    parts: dict[str, nn.Module] = {"codebooks": codec.codebooks, "revival": revival}
    if codec.router is not None:
        parts["router"] = codec.router
    train_and_save(
        nn.ModuleDict(parts),
        loss_of_step,
        Schedule(steps, batch, lr, weight_decay, precision=precision, save_seconds=save_seconds),
        tensors=lambda: finished(codec),
        recipe={**recipe, "model": before_recipe["model"]},
        inputs=[store / "images.npy", split, weights_file(recogniser), start / "weights.safetensors"],
        out=out,
    )


class Stage2Weights(NamedTuple):
    """Of the terms of the stage's loss; entropy is IBQ's alone."""

    codebook: float
    entropy: float
    router: RouterLossWeights
    image: ImageLossWeights


def stage2_loss(
    codec: TrainedCodec, z_e: Tensor, faces: Tensor, frozen: Frozen | None, weights: Stage2Weights
) -> tuple[dict[str, Tensor], Assignment]:
    """Named terms, their weighted sum `loss`, the number of `groups` in use; and what was chosen for each image.

    z_e: B x T x d, the latents of faces (B x 3 x S x S in [0, 1]). Without image losses nothing is decoded.
    """
    group, terms = route(codec, z_e, weights.router)
    quantised = codec.codebooks(z_e, group)
    terms["codebook"] = codebook_loss(quantised.z, quantised.z_q)
    terms["groups"] = torch.tensor(float(len(quantised.assignment.group.unique())))
    terms["loss"] = terms["loss"] + weights.codebook * terms["codebook"]
    if quantised.soft is not None:
        terms["loss"] = terms["loss"] + weights.entropy * entry_entropy_loss(quantised.soft)
    if any(weights.image):
        image_terms = image_losses(codec.tokenizer.decode(quantised.z_q), faces, frozen, weights.image)
        terms |= {**image_terms, "loss": terms["loss"] + image_terms["loss"]}
    return terms, quantised.assignment


def finished(codec: TrainedCodec) -> dict[str, Tensor]:
    """What is saved: entries as the decoder gets them, so for cosine l2-normalised, which a search then need not do."""
    with torch.no_grad():
        codec.codebooks.weight.copy_(normalise(codec.codebooks.weight, codec.codebooks.metric))
    return tensors_of(codec)


def route(codec: TrainedCodec, z_e: Tensor, weights: RouterLossWeights) -> tuple[Tensor | None, dict[str, Tensor]]:
    """The router's group for each image (B) and its losses; None and a loss of 0 where there is no router."""
    if codec.router is None:
        return None, {"loss": z_e.new_zeros(())}
    g = codec.router(z_e).softmax(1)
    errors = group_errors(z_e, codec.codebooks.books(), codec.tokenizer.metric)
    return g.argmax(1), router_losses(g, errors, weights)


if __name__ == "__main__":
    run(main)
