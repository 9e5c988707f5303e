"""Images as arrays and as tensors. Axes: B images, S x S pixels."""

import numpy as np
import torch
from torch import Tensor


def to_float(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """B x S x S x 3 uint8 -> B x 3 x S x S float32 in [0, 1], on `device`."""
    return torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2).float().div_(255)


def to_uint8(images: Tensor) -> np.ndarray:
    """B x 3 x S x S float, clamped to [0, 1] -> B x S x S x 3 uint8, rounded."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
