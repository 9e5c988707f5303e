"""Stage 2: token-specific codebooks, each starting as its group's token-shared one (Eq. 12), and the router.

python -m stscq.training.stage2 --start models/demo/titok_s/stage1_codebooks/4x64_router/seed1 ...
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stscq.cli_tools import run
from stscq.data.latents import read_latents
from stscq.data.sensitivity import read_sensitivity
from stscq.device import Precision, own_device
from stscq.errors import DataError
from stscq.quantization.allocation import allocate, total_bits
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.initialise import token_centres, token_specific
from stscq.quantization.losses import RouterLossWeights
from stscq.quantization.search import on_surface
from stscq.quantization.trained_codec import TrainedCodec, load_codec, on_device
from stscq.training.codebook_training import CodebookLossWeights, train_codebooks
from stscq.training.faces import recipe_of, training_batches
from stscq.training.lazy_adam import large_zeros
from stscq.training.loop import Schedule


def main(
    store: Path,
    split: Path,
    start: Path,
    out: Path,
    shared: bool,
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
    revive_every: int,
    precision: Precision = "fp32",
    latents: Path | None = None,
    sensitivity: Path | None = None,
    power: float = 0.0,
    bits: int | None = None,
    confidence_end: float | None = None,
    save_seconds: float = 30.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json and log.jsonl.

    START is a finished stage 1. --shared goes on with its token-shared codebooks, for as many steps as token-specific
    ones get: the compute-matched baseline. Groups are chosen as in stage 1, whose router learns on. The numbers are
    those of `stscq.training.stage1_codebooks`. SENSITIVITY: of stscq.training.sensitivity, where tokens have codebooks
    of unequal size, allocated with POWER, of BITS together (None: T log2 K, K of stage 1). Each starts as k-means
    centres of those of its token's LATENTS that chose its group in stage 1, whose entries are of another number.
    """
    recipe = recipe_of(locals())
    if sensitivity is None and (power or bits is not None):
        raise DataError("--power and --bits say how entries are allocated by --sensitivity, which is missing")
    if sensitivity is not None and shared:
        raise DataError(f"{sensitivity}: one codebook for all tokens has no entries to allocate; leave out --shared")
    device = own_device()
    batches = training_batches(store, split, batch, seed, device)
    before, before_recipe = load_codec(start, device)
    tokenizer = before.tokenizer.requires_grad_(False)
    tokenizer.compute_in(precision)
    torch.manual_seed(seed)
    weight = before.codebooks.weight.detach()
    entries = None
    if sensitivity is not None:
        weight, entries = unequal_start(before, sensitivity, power, bits, latents, len(batches.rows), seed)
    elif not shared:
        weight = token_specific(weight, tokenizer.T)
    weight = large_zeros(weight.shape, device).copy_(weight)
    codebooks = Codebooks(weight, tokenizer.metric, sparse=True, entries=entries)
    codec = on_device(TrainedCodec(tokenizer, codebooks, before.router), device)
    weights = CodebookLossWeights(codebook, entropy, RouterLossWeights(balance, confidence, quality), confidence_end)
    train_codebooks(
        codec,
        batches,
        weights,
        Schedule(steps, batch, lr, weight_decay, save_seconds=save_seconds),  # no gradient passes the encoder
        revive_every,
        latents,
        recipe={**recipe, **{name: before_recipe[name] for name in INHERITED}},
        inputs=[store / "images.npy", split, start / "weights.safetensors", *filter(None, [sensitivity])],
        out=out,
    )


def unequal_start(
    before: TrainedCodec, sensitivity: Path, power: float, bits: int | None, latents: Path | None, N: int, seed: int
) -> tuple[Tensor, list[int]]:
    """M x T x K x d and K_j of each token, the same in all groups. Raises DataError without latents or with too few."""
    T, d, metric, M = before.tokenizer.T, before.tokenizer.d, before.tokenizer.metric, before.codebooks.M
    if latents is None:
        raise DataError(f"{sensitivity}: codebooks of unequal size need --latents (latents.copies)")
    w, errors = read_sensitivity(sensitivity, T)
    try:
        entries = allocate(errors, w, power, total_bits(bits, T, before.codebooks.K), M)
    except ValueError as problem:
        raise DataError(
            f"{sensitivity}: {problem}; ask for fewer (allocation.bits, K), or keep more copies of latents"
        ) from problem
    kept = torch.from_numpy(np.array(read_latents(latents, N, T, d))).flatten(0, 1)
    return group_centres(on_surface(kept, metric), groups_of(before, kept), M, entries, seed), entries


GROUPED_AT_ONCE = 1024
"""Images whose groups are sought together."""
FOR_A_CENTRE = 4
"""Latents of a group, at least, for each entry that starts on them: with fewer the entries are the latents."""


@torch.no_grad()
def groups_of(codec: TrainedCodec, z_e: Tensor) -> Tensor:
    """The group that each image's latents (N x T x d) choose: the router's, or the nearest where there is none."""
    if codec.codebooks.M == 1:
        return torch.zeros(len(z_e), dtype=torch.int64)
    device = codec.codebooks.weight.device

    def choose(some: Tensor) -> Tensor:
        return codec.codebooks.search(some).group if codec.router is None else codec.router(some).argmax(1)

    return torch.cat([choose(some.to(device)) for some in z_e.split(GROUPED_AT_ONCE)]).cpu()


def group_centres(z: Tensor, group: Tensor, M: int, entries: list[int], seed: int) -> Tensor:
    """M x T x K x d: each group starts as the centres of those latents (N x T x d) that chose it (group: N); one that
    too few chose for its largest codebook, as centres of all, found from other starts than any other group's."""
    own = [z[group == i] for i in range(M)]
    enough = FOR_A_CENTRE * max(entries)
    starts = [token_centres(some if len(some) >= enough else z, entries, seed + i) for i, some in enumerate(own)]
    return torch.stack(starts)


INHERITED = ("model", "groups", "entries", "selection")
"""What stage 1 decided and every later step needs to know."""


if __name__ == "__main__":
    run(main)
