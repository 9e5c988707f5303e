"""Batches that depend on (seed, step) alone, so that a run can go on from any step as if it had never stopped.

Axes: B images, 3 x S x S pixels.
"""

import zlib
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stscq.data.tensors import to_float

SHIFT = 3
"""Largest random shift, in pixels of a 64-pixel face; it grows with the image."""


def generator(seed: int, stream: str, step: int, part: int = 0) -> torch.Generator:
    """A fresh random generator for one part of one step of one run, on the CPU whatever the device.

    `stream` says what for (batch, revive): two uses of randomness in one step never draw the same numbers.
    """
    # SeedSequence mixes them: torch's CPU generator only looks at 32 bits of a seed.
    mixed = np.random.SeedSequence([seed, zlib.crc32(stream.encode()), step, part]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(mixed))


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Mirror half of the images, shift all by a few pixels, change brightness and contrast slightly. B x 3 x S x S."""
    B, _, S, _ = images.shape
    flip = (torch.rand(B, generator=random) < 0.5).to(images.device)
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    reach = SHIFT * S // 64
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    dy, dx = torch.randint(0, 2 * reach + 1, (2, B), generator=random).tolist()
    images = torch.stack([p[:, y : y + S, x : x + S] for p, y, x in zip(padded, dy, dx, strict=True)])
    gain = 1 + 0.2 * (torch.rand(B, 1, 1, 1, generator=random) - 0.5)
    offset = 0.1 * (torch.rand(B, 1, 1, 1, generator=random) - 0.5)
    gain, offset = gain.to(images.device), offset.to(images.device)
    return (gain * (images - 0.5) + 0.5 + offset).clamp(0, 1).contiguous(memory_format=torch.channels_last)


class Draw(NamedTuple):
    """A batch: augmented images (B x 3 x S x S in [0, 1]) and their positions among the training rows (B, CPU)."""

    images: Tensor
    chosen: Tensor


class Batches(NamedTuple):
    """The training images: a memory-mapped store, the rows to train on, how many at a time, for which run, and where.

    A batch that is too large for the memory of the device is drawn and computed in several parts.
    """

    images: np.ndarray
    rows: np.ndarray
    size: int
    seed: int
    device: torch.device

    def draw(self, step: int, part: int = 0) -> Draw:
        random = generator(self.seed, "batch", step, part)
        chosen = torch.randint(0, len(self.rows), (self.size,), generator=random)
        return Draw(augment(to_float(self.images[self.rows[chosen.numpy()]], self.device), random), chosen)
