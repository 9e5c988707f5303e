"""Batches that depend on (seed, step) alone, so that a run can go on from any step as if it had never stopped.

Axes: B images, 3 x S x S pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 3
"""Largest random shift, in pixels of a 64-pixel face; it grows with the image."""


def generator(seed: int, step: int) -> torch.Generator:
    """A fresh random generator for one step of one run."""
    # SeedSequence mixes the two: torch's CPU generator only looks at 32 bits of a seed.
    mixed = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    return torch.Generator().manual_seed(mixed)


def to_float(images: np.ndarray) -> Tensor:
    """B x S x S x 3 uint8 -> B x 3 x S x S float32 in [0, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(255)


def to_uint8(images: Tensor) -> np.ndarray:
    """B x 3 x S x S float, clamped to [0, 1] -> B x S x S x 3 uint8, rounded."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def augment(images: Tensor, random: torch.Generator) -> Tensor:
    """Mirror half of the images, shift all by a few pixels, change brightness and contrast slightly. B x 3 x S x S."""
    B, _, S, _ = images.shape
    flip = torch.rand(B, generator=random) < 0.5
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    reach = SHIFT * S // 64
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    dy, dx = torch.randint(0, 2 * reach + 1, (2, B), generator=random).tolist()
    images = torch.stack([p[:, y : y + S, x : x + S] for p, y, x in zip(padded, dy, dx, strict=True)])
    gain = 1 + 0.2 * (torch.rand(B, 1, 1, 1, generator=random) - 0.5)
    offset = 0.1 * (torch.rand(B, 1, 1, 1, generator=random) - 0.5)
    return (gain * (images - 0.5) + 0.5 + offset).clamp(0, 1).contiguous(memory_format=torch.channels_last)


def draw(images: np.ndarray, rows: np.ndarray, batch: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """The batch of one step: augmented images (B x 3 x S x S in [0, 1]) and their positions in `rows` (B)."""
    random = generator(seed, step)
    chosen = torch.randint(0, len(rows), (batch,), generator=random)
    return augment(to_float(images[rows[chosen.numpy()]]), random), chosen
