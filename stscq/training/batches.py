"""Batches that depend on (seed, step) alone, so that a run can go on from any step as if it had never stopped.

Axes: B images, 3 x S x S pixels.
"""

import zlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stscq.parallel import share

SHIFT = 3
"""Largest random shift, in pixels of a 64-pixel face; it grows with the image."""


def generator(seed: int, stream: str, step: int, part: int = 0) -> torch.Generator:
    """A fresh random generator for one part of one step of one run, on the CPU whatever the device.

    `stream` says what for (batch, revive): two uses of randomness in one step never draw the same numbers.
    """
    # SeedSequence mixes them: torch's CPU generator only looks at 32 bits of a seed.
    mixed = np.random.SeedSequence([seed, zlib.crc32(stream.encode()), step, part]).generate_state(1)[0]
    return torch.Generator().manual_seed(int(mixed))


class Changes(NamedTuple):
    """Of B images each: mirrored (bool), shifted (0 to 2 `reach`), contrast and brightness. B each, on the CPU."""

    flip: Tensor
    dy: Tensor
    dx: Tensor
    gain: Tensor
    offset: Tensor

    def of(self, some: slice) -> "Changes":
        return Changes(*(values[some] for values in self))


def reach(S: int) -> int:
    """How far images of S x S pixels are shifted, at most."""
    return SHIFT * S // 64


def draw_changes(B: int, S: int, random: torch.Generator) -> Changes:
    """For B images of S x S pixels."""
    flip = torch.rand(B, generator=random) < 0.5
    dy, dx = torch.randint(0, 2 * reach(S) + 1, (2, B), generator=random)
    gain = 1 + 0.2 * (torch.rand(B, generator=random) - 0.5)
    offset = 0.1 * (torch.rand(B, generator=random) - 0.5)
    return Changes(flip, dy, dx, gain, offset)


def changed(images: Tensor, changes: Changes) -> Tensor:
    """Images (B x 3 x S x S) after these changes; what a shift moves in from outside repeats the edge."""
    B, _, S, _ = images.shape
    flip, dy, dx, gain, offset = (values.to(images.device, non_blocking=True)[:, None] for values in changes)
    along = torch.arange(S, device=images.device)
    rows, columns = ((along + shift - reach(S)).clamp(0, S - 1) for shift in (dy, dx))
    columns = torch.where(flip, S - 1 - columns, columns)
    image = torch.arange(B, device=images.device)[:, None, None]
    shifted = images.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]]  # B x S x S x 3
    gain, offset = gain[..., None, None], offset[..., None, None]
    return (gain * (shifted - 0.5) + 0.5 + offset).clamp(0, 1).permute(0, 3, 1, 2)


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Mirror half of the images, shift all by a few pixels, change brightness and contrast slightly. B x 3 x S x S."""
    return changed(images, draw_changes(len(images), images.shape[3], random))


class Draw(NamedTuple):
    """A batch: augmented images (B x 3 x S x S in [0, 1]) and their positions among the training rows (B, CPU).

    Of several processes that train together, each draws the same batch and has its share of it (stscq.parallel).
    """

    images: Tensor
    chosen: Tensor


class Read(NamedTuple):
    """A batch as it lies on disk (B x S x S x 3 uint8), what is to be changed of it, and which rows it has."""

    images: Tensor
    changes: Changes
    chosen: Tensor


class Batches(NamedTuple):
    """The training images: a memory-mapped store, the rows to train on, how many at a time, for which run, and where.

    A batch that is too large for the memory of a device is drawn and computed in several parts, or by several
    processes.
    """

    images: np.ndarray
    rows: np.ndarray
    size: int
    seed: int
    device: torch.device

    def read(self, step: int, part: int = 0) -> Read:
        """The first half of `draw`: without the device, so that other processes can do it (stscq.training.ahead)."""
        random = generator(self.seed, "batch", step, part)
        chosen = torch.randint(0, len(self.rows), (self.size,), generator=random)
        changes = draw_changes(self.size, self.images.shape[2], random)
        own = share(self.size)
        images = torch.from_numpy(np.array(self.images[self.rows[chosen[own].numpy()]]))
        return Read(images, changes.of(own), chosen[own])

    def made_of(self, read: Read) -> Draw:
        """The second half: on the device."""
        images = read.images.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255)
        return Draw(changed(images, read.changes), read.chosen)

    def draw(self, step: int, part: int = 0) -> Draw:
        return self.made_of(self.read(step, part))
