"""Gradient steps or k-means? Codebooks on the latents of a frozen encoder, both for the same CPU time.

python -m benchmarks.codebook_updates --store data/demo/faces --val-people '["s12", "s25", "s35", "s6", "s8"]' ...

The latents are those of the shipped MaskGIT-VQGAN. Token-shared codebooks are trained first, then token-specific ones
from them (Eq. 12): by the lazy Adam of stages 1 and 2, or by mini-batch k-means (Sculley, 2010), which sets each entry
to the running mean of the latents that chose it. Groups are those of least error (NN).
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.timing import report
from stscq.backbones import Tokenizer
from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.initialise import token_shared, token_specific
from stscq.quantization.losses import RouterLossWeights
from stscq.quantization.revival import Revival
from stscq.quantization.trained_codec import TrainedCodec
from stscq.training.batches import Batches, generator
from stscq.training.codebook_training import CodebookLossWeights, CodebookTraining, latents_of_step
from stscq.training.encode import encode_rows
from stscq.training.latents import encode_copies
from stscq.training.loop import learning_rate
from stscq.training.optimiser import Optimiser
from stscq.training.tokenizer_training import start_tokenizer

ABOUT = (
    "Error: mean squared distance of a latent to its entry, in % of the latents' variance, on {people} people "
    "who were not trained on (val) and on the {faces} faces that were, each augmented {copies} times. {seconds:g} CPU "
    "seconds for the token-shared codebooks and as many for the token-specific ones; steps: of the latter. K = {K}. "
    "means: of how many latents an entry's mean is kept; gradient: the peak rate of the lazy Adam."
)
SHIPPED = Path("stscq/tokenizers/maskgit_vqgan")
WEIGHTS = CodebookLossWeights(1.0, 0.0, RouterLossWeights(0.0, 0.0, 0.0))
COPIES, BATCH, REVIVE_EVERY, JITTER, SEED = 8, 256, 20, 0.003, 1
SETTINGS = [*(("means", memory) for memory in (300, 1000, 5000)), *(("gradient", lr) for lr in (0.005, 0.02, 0.05))]


def main(store: Path, val_people: str, out: Path, entries: int = 16, seconds: float = 10.0) -> None:
    """Writes OUT/codebook_updates_cpu.md and .json. VAL_PEOPLE: a JSON list of identities of the store."""
    images, index = open_store(store)
    held_out = index.identity.isin(json.loads(val_people)).to_numpy()
    model = json.loads(SHIPPED.with_suffix(".json").read_text())["model"]
    published = SHIPPED.with_suffix(".safetensors")
    tokenizer, codebook = start_tokenizer(model, published, images[:1], SEED, torch.device("cpu"))
    tokenizer.requires_grad_(False)
    batches = Batches(images, np.flatnonzero(~held_out), BATCH, SEED, torch.device("cpu"))
    draw = latents_of_step(tokenizer, batches, encode_copies(tokenizer, batches, COPIES)[1:])
    sides = {
        "train": encode_rows(tokenizer, images, batches.rows),
        "val": encode_rows(tokenizer, images, np.flatnonzero(held_out)),
    }
    rows = []
    for M in (1, 16):
        start = token_shared(codebook, sides["train"], entries, M, tokenizer.metric, JITTER, SEED)
        for update, value in SETTINGS:
            shared = Trained(tokenizer, start, update, value, draw, seconds)
            specific = Trained(tokenizer, token_specific(shared.weight, tokenizer.T), update, value, draw, seconds)
            errors = {f"shared, {side}": shared.error(z) for side, z in sides.items()}
            errors |= {f"specific, {side}": specific.error(z) for side, z in sides.items()}
            rows.append({"M": M, "update": f"{update} {value:g}", "steps": specific.steps, **errors})
    people, faces = index.identity[held_out].nunique(), len(batches.rows)
    about = ABOUT.format(people=people, faces=faces, copies=COPIES, seconds=seconds, K=entries)
    report("codebook_updates", "Gradient steps or k-means", about, rows, 1, out)


class Trained:
    """Codebooks that start from `start` (M x S x K x d) and are trained for so many CPU seconds."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        start: Tensor,
        update: str,
        value: float,
        draw: Callable[[int], Tensor],
        seconds: float,
    ):
        self.tokenizer, self.start, self.update, self.value, self.draw = tokenizer, start, update, value, draw
        began = time.process_time()
        self.train(10)
        self.steps = max(20, round(10 * seconds / (time.process_time() - began)))
        self.codebooks = self.train(self.steps)
        self.weight = self.codebooks.weight.detach()

    def train(self, steps: int) -> Codebooks:
        codebooks = Codebooks(self.start.clone(), self.tokenizer.metric, sparse=True)
        training = CodebookTraining(
            TrainedCodec(self.tokenizer, codebooks, None), WEIGHTS, REVIVE_EVERY, steps, BATCH, SEED
        )
        assert training.revival is not None
        if self.update == "means":
            means = Means(codebooks, self.value)
            for step in range(steps):
                z = self.draw(step)
                means.update(z, training.revival)
                if 0 < step < training.revive_until and step % REVIVE_EVERY == 0:
                    training.revival.revive(codebooks, generator(SEED, "revive", step))
            return codebooks
        optimiser = Optimiser(training, self.value, 0.0, "fp32")
        for step in range(steps):
            optimiser.set_rate(learning_rate(step, steps, self.value, warmup=max(1, steps // 20)))
            optimiser.backward(training.loss_of_step(step, self.draw(step))["loss"])
            optimiser.step()
        return codebooks

    def error(self, z: Tensor) -> float:
        """In % of the variance of z (N x T x d)."""
        z_q = self.codebooks.lookup(self.codebooks.search(z)).detach()
        return 100 * float((z_q - z).square().mean() / z.var())


class Means:
    """Mini-batch k-means: entries are running means."""

    def __init__(self, codebooks: Codebooks, memory: float):
        self.codebooks, self.memory = codebooks, memory
        self.counts = torch.zeros(codebooks.weight.shape[:3]).view(-1)

    @torch.no_grad()
    def update(self, z: Tensor, revival: Revival) -> None:
        """An entry moves to the mean of what it remembers and of the latents z (B x T x d) that chose it."""
        group, index = assignment = self.codebooks.search(z)
        revival.record(assignment, z)
        _, S, K, d = self.codebooks.weight.shape
        place = ((group[:, None] * S + torch.arange(index.shape[1]) % S) * K + index).flatten()
        place, inverse, new = place.unique(return_inverse=True, return_counts=True)
        sums = torch.zeros(len(place), d).index_add_(0, inverse, z.flatten(0, 1))
        self.counts[place] = self.counts[place].clamp(max=self.memory) + new
        entries = self.codebooks.weight.view(-1, d)
        entries[place] = entries[place].lerp(sums / new[:, None], (new / self.counts[place])[:, None])


if __name__ == "__main__":
    run(main)
