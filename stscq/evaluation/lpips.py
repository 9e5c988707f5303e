"""LPIPS of stored pairs of images (see stscq.training.lpips). Axes: N pairs, S x S pixels."""

from pathlib import Path

import numpy as np
import torch

from stscq.data.tensors import to_float
from stscq.device import full_precision, own_device
from stscq.errors import DataError
from stscq.evaluation.published_metrics import check_pairs
from stscq.training.lpips import load_lpips

SMALLEST = 31
"""Pixels a side below which AlexNet's second pooling has nothing left."""
BATCH = 32


class Lpips:
    """Perceptual distance of image pairs: 0 for equal images, larger is worse."""

    def __init__(self, alexnet: Path, heads: Path, device: torch.device | None = None):
        """See `load_lpips`. device: CUDA where there is one."""
        self.device = own_device() if device is None else device
        self.network = load_lpips(alexnet, heads, self.device)

    @torch.no_grad()
    def __call__(self, originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
        """N x S x S x 3 uint8 RGB both -> N float32. Raises DataError below 31 pixels a side."""
        check_pairs(originals, reconstructions)
        if min(originals.shape[1:3]) < SMALLEST:
            raise DataError(f"LPIPS needs {SMALLEST} x {SMALLEST} pixels, not {originals.shape[1:3]}: raise data.size")
        parts = [np.zeros(0, np.float32)]
        for i in range(0, len(originals), BATCH):
            pair = (to_float(images[i : i + BATCH], self.device) for images in (originals, reconstructions))
            with full_precision():
                parts.append(self.network(*pair).cpu().numpy())
        return np.concatenate(parts)
