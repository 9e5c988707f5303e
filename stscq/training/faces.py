"""The faces that a stage trains on, and the part of its arguments that decides its result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stscq.data.store import open_store


def training_faces(store: Path, split: Path) -> tuple[np.ndarray, np.ndarray]:
    """All images of the store, memory-mapped, and the rows that may be trained on."""
    index = pd.read_parquet(split)
    return open_store(store).images, index.index[index.split == "train"].to_numpy()


PLACES = {"store", "split", "recogniser", "start", "out", "pixel_decoder", "published", "save_seconds"}


def recipe_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among a stage's arguments: all but places on disk and what does not change the result."""
    return {name: value for name, value in arguments.items() if name not in PLACES}
