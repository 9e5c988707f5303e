"""Stage 1: switchable token-shared codebooks and the router, on the frozen tokenizer (the paper's stage 1).

python -m stscq.training.stage1_codebooks --start models/demo/ibq/stage1_tokenizer/fine_tuned/seed1 --groups 16 ...
"""

from pathlib import Path
from typing import Literal

import torch

from stscq.cli_tools import run
from stscq.data.splits import sample_rows
from stscq.device import Precision, own_device
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.initialise import token_shared
from stscq.quantization.losses import RouterLossWeights
from stscq.quantization.router import Router
from stscq.quantization.trained_codec import TrainedCodec, load_codec, on_device
from stscq.training.codebook_training import CodebookLossWeights, train_codebooks
from stscq.training.encode import encode_rows
from stscq.training.faces import recipe_of, training_batches
from stscq.training.lazy_adam import large_zeros
from stscq.training.loop import Schedule

SAMPLE = 512
"""Faces whose latents the entries start from, where there are fewer entries than the tokenizer has."""


def main(
    store: Path,
    split: Path,
    start: Path,
    out: Path,
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
    balance: float,
    confidence: float,
    quality: float,
    rank: int,
    jitter: float,
    revive_every: int,
    precision: Precision = "fp32",
    latents: Path | None = None,
    confidence_end: float | None = None,
    save_seconds: float = 30.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json and log.jsonl.

    GROUPS codebooks of ENTRIES entries start from the tokenizer's own in START; SELECTION picks an image's group in
    training. Codebooks move by a lazy Adam, without weight decay; WEIGHT_DECAY is the router's. Every REVIVE_EVERY
    steps (0: never) idle entries get a second chance. LATENTS: see
    stscq.training.codebook_training.train_codebooks. The weight CONFIDENCE rises over the steps to CONFIDENCE_END.
    """
    recipe = recipe_of(locals())
    device = own_device()
    batches = training_batches(store, split, batch, seed, device)
    before, before_recipe = load_codec(start, device)
    tokenizer = before.tokenizer.requires_grad_(False)
    tokenizer.compute_in(precision)
    torch.manual_seed(seed)
    sample = encode_rows(tokenizer, batches.images, sample_rows(batches.rows, seed, most=SAMPLE))
    weight = token_shared(
        before.codebooks.weight.detach()[0, 0], sample, entries, groups, tokenizer.metric, jitter, seed
    )
    router = Router(groups, tokenizer.T, tokenizer.d, rank) if groups > 1 and selection == "router" else None
    weight = large_zeros(weight.shape, device).copy_(weight)
    codec = on_device(TrainedCodec(tokenizer, Codebooks(weight, tokenizer.metric, sparse=True), router), device)
    weights = CodebookLossWeights(codebook, entropy, RouterLossWeights(balance, confidence, quality), confidence_end)
    train_codebooks(
        codec,
        batches,
        weights,
        Schedule(steps, batch, lr, weight_decay, save_seconds=save_seconds),  # no gradient passes the encoder
        revive_every,
        latents,
        recipe={**recipe, "shared": True, "model": before_recipe["model"]},
        inputs=[store / "images.npy", split, start / "weights.safetensors"],
        out=out,
    )


if __name__ == "__main__":
    run(main)
