"""The faces that a stage trains on, and the part of its arguments that decides its result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from stscq.data.store import open_store
from stscq.training.batches import Batches


def training_batches(store: Path, split: Path, size: int, seed: int, device: torch.device) -> Batches:
    """Of the images that the index SPLIT marks `train`; of all when it has no such column (a set of its own)."""
    index = pd.read_parquet(split)
    chosen = index.index[index.split == "train"] if "split" in index else index.index
    return Batches(open_store(store).images, chosen.to_numpy(), size, seed, device)


PLACES = {
    "store", "split", "recogniser", "embeddings", "start", "out", "pixel_decoder", "published", "leave_out",
    "save_seconds",
}  # fmt: skip


def recipe_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among a stage's arguments: all but places on disk and what does not change the result."""
    return {name: value for name, value in arguments.items() if name not in PLACES}
