"""What stage 1's token-shared and stage 2's token-specific codebooks have in common: how they and the router learn.

Encoder and decoder are frozen, so latents are all that matters. Axes: B images, M groups, T tokens, d channels.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from stscq.backbones import Tokenizer
from stscq.data.latents import read_latents
from stscq.parallel import gathered, share
from stscq.quantization.codebooks import Quantised
from stscq.quantization.index_propagation import entry_entropy_loss, index_propagation_loss
from stscq.quantization.losses import RouterLossWeights, codebook_loss, router_losses
from stscq.quantization.mean_use import MeanUse
from stscq.quantization.revival import Revival
from stscq.quantization.search import Assignment, group_errors, normalise
from stscq.quantization.trained_codec import TrainedCodec, tensors_of
from stscq.training.ahead import draws_of
from stscq.training.batches import Batches, generator
from stscq.training.loop import Schedule, train_and_save

REVIVE_UNTIL = 0.6
"""Share of the steps in which idle entries are revived; the rest lets them settle."""


class CodebookLossWeights(NamedTuple):
    """Of the terms of the loss; entropy is IBQ's alone. confidence_end: what L_dec's weight rises to, if not None."""

    codebook: float
    entropy: float
    router: RouterLossWeights
    confidence_end: float | None = None

    def at(self, progress: float) -> "CodebookLossWeights":
        """After a share of the steps, by its square: first all groups get into use, then every image is held to one."""
        if self.confidence_end is None:
            return self
        start = self.router.confidence
        router = self.router._replace(confidence=start + progress**2 * (self.confidence_end - start))
        return self._replace(router=router)


def codebook_training_loss(
    codec: TrainedCodec, z_e: Tensor, mean_use: MeanUse, weights: CodebookLossWeights
) -> tuple[dict[str, Tensor], Quantised]:
    """Named terms, their weighted sum `loss`, the number of `groups` in use; and what was chosen. z_e: B x T x d."""
    group, terms = route(codec, z_e, mean_use, weights.router)
    quantised = codec.codebooks(z_e, group)
    terms["codebook"] = codebook_loss(quantised.z, quantised.z_q)
    terms["groups"] = torch.tensor(float(len(gathered(quantised.assignment.group).unique())))
    learnt = terms["codebook"]
    if quantised.propagation is not None:
        logits, entries = quantised.propagation
        learnt = index_propagation_loss(quantised.z, quantised.z_q, entries)
        terms["loss"] = terms["loss"] + weights.entropy * entry_entropy_loss(logits)
    terms["loss"] = terms["loss"] + weights.codebook * learnt
    return terms, quantised


def route(
    codec: TrainedCodec, z_e: Tensor, mean_use: MeanUse, weights: RouterLossWeights
) -> tuple[Tensor | None, dict[str, Tensor]]:
    """The router's group for each image (B) and its losses; None and a loss of 0 where there is no router."""
    if codec.router is None:
        return None, {"loss": z_e.new_zeros(())}
    g = codec.router(z_e).softmax(1)
    errors = group_errors(z_e, codec.codebooks.prepared(), codec.tokenizer.metric)
    return g.argmax(1), router_losses(g, mean_use(g), errors, weights)


class CodebookTraining(nn.Module):
    """What is trained, and what revival and ḡ remember; its state is that of an unfinished run.

    REVIVE_EVERY, STEPS, BATCH: steps between second chances for idle entries (0: never), steps in all, images a step
    (of all processes together).
    """

    def __init__(
        self, codec: TrainedCodec, weights: CodebookLossWeights, revive_every: int, steps: int, batch: int, seed: int
    ):
        super().__init__()
        self.codec, self.weights, self.steps, self.seed = codec, weights, steps, seed
        self.revive_every, self.revive_until = revive_every, REVIVE_UNTIL * steps if revive_every else 0
        self.codebooks = codec.codebooks
        self.router = codec.router
        self.mean_use = MeanUse(codec.codebooks.M, batch)
        self.revival = Revival(codec.codebooks, codec.tokenizer.T) if revive_every else None

    def loss_of_step(self, step: int, z_e: Tensor) -> dict[str, Tensor]:
        """The loss on the latents of a batch (B x T x d)."""
        terms, quantised = codebook_training_loss(self.codec, z_e, self.mean_use, self.weights.at(step / self.steps))
        if self.revival is not None and step < self.revive_until:
            # Every process remembers the whole batch, so all of them move the same entries onto the same latents.
            whole = Assignment(*(gathered(rows) for rows in quantised.assignment))
            self.revival.record(whole, gathered(self.codebooks.continuous(z_e)))
            if step > 0 and step % self.revive_every == 0:
                self.revival.revive(self.codebooks, generator(self.seed, "revive", step))
        return terms

    def finished(self) -> dict[str, Tensor]:
        """What is saved: entries as the decoder gets them, so for cosine l2-normalised, which searches then skip."""
        with torch.no_grad():
            self.codebooks.weight.copy_(normalise(self.codebooks.weight, self.codebooks.metric))
        return tensors_of(self.codec)


def train_codebooks(
    codec: TrainedCodec,
    batches: Batches,
    weights: CodebookLossWeights,
    schedule: Schedule,
    revive_every: int,
    latents: Path | None,
    *,
    recipe: Mapping[str, Any],
    inputs: Sequence[Path],
    out: Path,
) -> None:
    """Trains codebooks and router of CODEC, whose tokenizer is frozen, and writes the checkpoint folder OUT.

    REVIVE_EVERY: steps between second chances for idle entries (0: never). LATENTS: the file of stscq.training.latents
    that batches are drawn from; without it each step encodes its own.
    """
    training = CodebookTraining(codec, weights, revive_every, schedule.steps, schedule.batch, batches.seed)
    training.to(batches.device)
    T, d = codec.tokenizer.T, codec.tokenizer.d
    kept = None if latents is None else torch.from_numpy(np.array(read_latents(latents, len(batches.rows), T, d)[1:]))
    draw = latents_of_step(codec.tokenizer, batches, kept)
    train_and_save(
        training,
        lambda step, part: training.loss_of_step(step, draw(step)),
        schedule,
        tensors=training.finished,
        recipe=recipe,
        inputs=[*inputs, *([latents] if latents else [])],
        out=out,
    )


def latents_of_step(tokenizer: Tokenizer, batches: Batches, kept: Tensor | None) -> Callable[[int], Tensor]:
    """Step -> z_e of a batch of augmented training faces, B x T x d, or of this process's share of it.

    kept: C x N x T x d, every training face augmented C times and encoded beforehand (stscq.training.latents); a batch
    is drawn among them. Without it a step draws faces and encodes them.
    """
    if kept is None:
        faces = draws_of(batches)

        @torch.no_grad()
        def encode(step: int) -> Tensor:
            return tokenizer.encode(faces(step, 0).images)

        return encode
    flat = kept.flatten(0, 1).to(batches.device)

    def draw(step: int) -> Tensor:
        random = generator(batches.seed, "batch", step)
        chosen = torch.randint(0, len(flat), (batches.size,), generator=random)[share(batches.size)]
        return flat[chosen.to(flat.device)]

    return draw
