"""The faces that a stage trains on, and the part of its arguments that decides its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute
import pyarrow.parquet
import torch

from stscq.data.store import open_images, readable
from stscq.errors import DataError
from stscq.training.batches import Batches

if TYPE_CHECKING:  # as in stscq.data.store
    import pandas as pd


def training_batches(store: Path, split: Path, size: int, seed: int, device: torch.device) -> Batches:
    """Of the images that the index SPLIT marks `train`; of all when it has no such column (a set of its own).

    Raises DataError when one of the two cannot be read, or when SPLIT is another store's.
    """
    images = open_images(store)
    with readable(split.parent):
        file = pyarrow.parquet.ParquetFile(split)
        rows = np.arange(file.metadata.num_rows)
        if "split" in file.schema_arrow.names:
            rows = np.flatnonzero(pyarrow.compute.equal(file.read(["split"])["split"], "train").to_numpy())
    if file.metadata.num_rows != len(images):
        raise DataError(f"{split}: of {file.metadata.num_rows} images, and {store} has {len(images)}; split it anew")
    return Batches(images, rows, size, seed, device)


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
    "latents", "sensitivity", "save_seconds", "alexnet", "lpips_alex",
}  # fmt: skip


def recipe_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among a stage's arguments: all but places on disk and what does not change the result."""
    return {name: value for name, value in arguments.items() if name not in PLACES}
