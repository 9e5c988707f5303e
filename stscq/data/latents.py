"""Latents at rest: one float32 array, (1 + C) x N x T x d: of N images as they are, then of C augmented copies."""

from pathlib import Path

import numpy as np

from stscq.errors import DataError
from stscq.files import atomically


def write_latents(z_e: np.ndarray, file: Path) -> None:
    """The file appears under its name only when it is complete."""
    with atomically(file) as partial, partial.open("wb") as opened:
        np.save(opened, z_e, allow_pickle=False)


def read_latents(file: Path, N: int, T: int, d: int) -> np.ndarray:
    """What `write_latents` wrote, (1 + C) x N x T x d, memory-mapped. Raises DataError where N, T or d differ."""
    try:
        kept = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as problem:
        raise DataError(f"{file}: no latents to read ({problem})") from problem
    if kept.dtype != np.float32 or kept.ndim != 4 or kept.shape[1:] != (N, T, d):
        raise DataError(f"{file}: {kept.dtype} {kept.shape}; wanted are float32 latents of {N} faces, {T} x {d} each")
    return kept
