"""What all trials of a question share. Axes: C copies, N images, T tokens, d channels."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from stscq.backbones import Tokenizer
from stscq.data.latents import read_latents
from stscq.data.store import open_store
from stscq.device import full_precision
from stscq.quantization.trained_codec import load_codec
from stscq.training.batches import Batches
from stscq.training.codebook_training import latents_of_step
from stscq.training.encode import encode_rows
from stscq.training.faces import training_batches
from stscq.training.loop import LossOfStep, Schedule, train

Numbers = Mapping[str, Any]
"""Of one stage, as params.yaml has them: steps, batch, lr, ..."""


class Setting(NamedTuple):
    """codebook: the tokenizer's own (K_0 x d); faces: z_e of the N training faces as they are (N x T x d), whose people
    are `identity` (N); augmented: the same of C augmented copies (C x N x T x d), which batches are drawn from."""

    tokenizer: Tokenizer
    codebook: Tensor
    faces: Tensor
    augmented: Tensor
    identity: np.ndarray
    stage1: Numbers
    stage2: Numbers
    seed: int

    @property
    def steps(self) -> int:
        """Of both stages: as many as every trial takes."""
        return int(self.stage1["steps"] + self.stage2["steps"])

    def draw(self, stage: Numbers) -> Callable[[int], Tensor]:
        """From a step of a stage to the latents of its batch, B x T x d; the same for all trials."""
        nobody = np.arange(self.faces.shape[0])  # no images are read: latents are kept
        batches = Batches(nobody, nobody, stage["batch"], self.seed, self.faces.device)
        return latents_of_step(self.tokenizer, batches, self.augmented)

    def draw_both(self) -> Callable[[int], Tensor]:
        """The batches of stage 1 and then of stage 2."""
        first, second, border = self.draw(self.stage1), self.draw(self.stage2), self.stage1["steps"]
        return lambda step: first(step) if step < border else second(step - border)


def open_setting(
    store: Path, split: Path, start: Path, latents: Path, stage1: Numbers, stage2: Numbers, seed: int
) -> Setting:
    """START: a finished tokenizer; LATENTS: stscq.training.latents of the faces that SPLIT marks `train`.

    All on the CPU, where the library's quantisers and the coder work: codebooks of the size of a trial gain little by a
    GPU.
    """
    codec, _ = load_codec(start, torch.device("cpu"))
    tokenizer = codec.tokenizer.requires_grad_(False)
    rows = training_batches(store, split, 1, seed, torch.device("cpu")).rows
    kept = torch.from_numpy(np.array(read_latents(latents, len(rows), tokenizer.T, tokenizer.d)))
    identity = open_store(store).index.identity.to_numpy()[rows]
    codebook = codec.codebooks.weight.detach()[0, 0]
    return Setting(tokenizer, codebook, kept[0], kept[1:], identity, stage1, stage2, seed)


def latents_of(tokenizer: Tokenizer, images: np.ndarray, rows: np.ndarray) -> Tensor:
    """z_e of some rows of a store (N x T x d), on the CPU."""
    with full_precision():
        return encode_rows(tokenizer, images, rows).cpu()


def fit_module(model: nn.Module, loss_of_step: LossOfStep, schedule: Schedule) -> None:
    """Train it in place by the workflow's one loop; nothing is kept of its log, nor of an unfinished run."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        train(
            model,
            loss_of_step,
            schedule,
            partial=place / "state.safetensors",
            log=place / "log.jsonl",
            recipe_hash="",
            log_every=schedule.steps,
        )
