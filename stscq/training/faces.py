"""The faces that a stage trains on, and the part of its arguments that decides its result."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stscq.data.store import open_store
from stscq.training.batches import Batches


def training_batches(store: Path, split: Path, size: int, seed: int, device: torch.device) -> Batches:
    """Of the images that the index SPLIT marks `train`; of all when it has no such column (a set of its own)."""
    index = pd.read_parquet(split)
    chosen = index.index[index.split == "train"] if "split" in index else index.index
    return Batches(open_store(store).images, chosen.to_numpy(), size, seed, device)


def rows_to_pretrain_on(
    index: pd.DataFrame, leave_out: Path | None, validation: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a store to validate on, VALIDATION of them drawn by SEED, and those to train on, each in order.

    Without the pictures that the file LEAVE_OUT names (see stscq.evaluation.overlap).
    """
    left_out = [] if leave_out is None else json.loads(leave_out.read_text(encoding="utf-8"))["leave_out"]
    return hold_out(np.flatnonzero(~index.image_id.isin(left_out)), validation, seed)


def hold_out(rows: np.ndarray, validation: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of some rows those to validate on and those to train on, each in order."""
    order = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[:validation]), np.sort(order[validation:])


PLACES = {
    "store", "split", "recogniser", "embeddings", "start", "like", "out", "pixel_decoder", "published", "leave_out",
    "latents", "save_seconds",
}  # fmt: skip


def recipe_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among a stage's arguments: all but places on disk and what does not change the result."""
    return {name: value for name, value in arguments.items() if name not in PLACES}
