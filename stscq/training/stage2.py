"""Stage 2: with encoder and decoder frozen, train the codebooks and the router.

python -m stscq.training.stage2 --start models/demo/titok_s/stage1/seed1 --groups 16 --entries 16 ...
"""

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from stscq.cli_tools import run
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.initialise import token_specific
from stscq.quantization.losses import RouterLossWeights, codebook_loss, entry_entropy_loss, router_losses
from stscq.quantization.revival import Revival
from stscq.quantization.router import Router
from stscq.quantization.search import group_errors
from stscq.recognition.train import load_iresnet
from stscq.training.batches import draw, generator
from stscq.training.encode import encode_rows, sample_rows
from stscq.training.faces import recipe_of, training_faces
from stscq.training.loop import train_and_save
from stscq.training.losses import ImageLossWeights, image_losses
from stscq.training.tokenizer_io import Codec, load_codec, tensors_of

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
    save_seconds: float = 30.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json and log.jsonl.

    --shared keeps the one global codebook and trains it on (the compute-matched baseline); otherwise GROUPS groups of
    token-specific codebooks with ENTRIES entries each start from it. SELECTION picks an image's group in training.
    Every REVIVE_EVERY steps (0: never) idle entries get a second chance, those of the baseline as well.
    """
    recipe = recipe_of(locals())
    images, rows = training_faces(store, split)
    judge = load_iresnet(recogniser)
    image_weights = ImageLossWeights(reconstruction, perceptual, identity)
    router_weights = RouterLossWeights(balance, confidence, expected_error)
    before, before_recipe = load_codec(start)
    tokenizer = before.tokenizer.requires_grad_(False)
    torch.manual_seed(seed)
    latents = encode_rows(tokenizer, images, sample_rows(rows, seed))
    if shared:
        codec = Codec(tokenizer, before.codebooks, None)
    else:
        weight = token_specific(
            before.codebooks.weight.detach()[0, 0], latents, entries, groups, tokenizer.metric, jitter, seed
        )
        router = Router(groups, tokenizer.T, tokenizer.d, rank) if groups > 1 and selection == "router" else None
        codec = Codec(tokenizer, Codebooks(weight, tokenizer.metric), router)
    revival = Revival(codec.codebooks)

    def loss_of_step(step: int) -> dict[str, Tensor]:
        if revive_every and 0 < step < REVIVE_UNTIL * steps and step % revive_every == 0:
            revival.revive(codec.codebooks, latents, generator(seed, step))
        faces, _ = draw(images, rows, batch, seed, step)
        with torch.no_grad():
            z_e = tokenizer.encode(faces)
        group, terms = route(codec, z_e, router_weights)
        quantised = codec.codebooks(z_e, group)
        revival.count(quantised.assignment)
        terms["codebook"] = codebook_loss(quantised.z, quantised.z_q)
        terms["groups"] = torch.tensor(float(len(quantised.assignment.group.unique())))
        terms["loss"] = terms["loss"] + codebook * terms["codebook"]
        if quantised.soft is not None:
            terms["loss"] = terms["loss"] + entropy * entry_entropy_loss(quantised.soft)
        if any(image_weights):
            image_terms = image_losses(tokenizer.decode(quantised.z_q), faces, judge, image_weights)
            terms |= {**image_terms, "loss": terms["loss"] + image_terms["loss"]}
        return terms

    parts: dict[str, nn.Module] = {"codebooks": codec.codebooks, "revival": revival}
    if codec.router is not None:
        parts["router"] = codec.router
    train_and_save(
        nn.ModuleDict(parts),
        loss_of_step,
        tensors=lambda: tensors_of(codec),
        recipe={**recipe, "model": before_recipe["model"]},
        inputs=[store / "images.npy", split, recogniser / "weights.safetensors", start / "weights.safetensors"],
        out=out,
        steps=steps,
        lr=lr,
        batch=batch,
        weight_decay=weight_decay,
        save_seconds=save_seconds,
    )


def route(codec: Codec, z_e: Tensor, weights: RouterLossWeights) -> tuple[Tensor | None, dict[str, Tensor]]:
    """The router's group for each image (B) and its losses; None and a loss of 0 where there is no router."""
    if codec.router is None:
        return None, {"loss": z_e.new_zeros(())}
    g = codec.router(z_e).softmax(1)
    errors = group_errors(z_e, codec.codebooks.weight.detach(), codec.tokenizer.metric)
    return g.argmax(1), router_losses(g, errors, weights)


if __name__ == "__main__":
    run(main)
