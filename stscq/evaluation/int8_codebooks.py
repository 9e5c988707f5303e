"""Codebooks in a quarter of the space: int8 entries with one float32 scale for each (group, token) codebook.

Axes: M groups, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

MIB = 2**20
LARGEST = 127
"""int8 has one more value below zero, which stays unused: the grid is the same on both sides."""


class Int8Codebooks(NamedTuple):
    """values: M x S x K x d int8 in [-127, 127]; scale: M x S float32, the width of one step."""

    values: Tensor
    scale: Tensor


def to_int8(weight: Tensor) -> Int8Codebooks:
    """weight: M x S x K x d. Each codebook's largest magnitude becomes 127; a codebook of zeros has scale 1.

    Raises ValueError when an entry is not finite.
    """
    if not torch.isfinite(weight).all():
        raise ValueError("a codebook has entries that are not finite")
    largest = weight.float().abs().amax((2, 3))
    scale = torch.where(largest > 0, largest / LARGEST, torch.ones_like(largest))
    # Subnormal magnitudes can divide to a scale of zero.
    scale = scale.clamp_min(torch.finfo(torch.float32).tiny)
    values = (weight / scale[:, :, None, None]).round().clamp(-LARGEST, LARGEST)
    return Int8Codebooks(values.to(torch.int8), scale)


def from_int8(codebooks: Int8Codebooks) -> Tensor:
    """float32, M x S x K x d: at most half a step of its codebook's scale away from what `to_int8` was given."""
    return codebooks.values.float() * codebooks.scale[:, :, None, None]


def int8_mib(M: int, S: int, K: int, d: int) -> float:
    """Size of M x S codebooks of K entries with d channels: one byte a channel, and 4 for each codebook's scale."""
    return M * S * (K * d + 4) / MIB
