"""Latents of many images. Axes: N images, T tokens, d channels."""

import numpy as np
import torch
from torch import Tensor

from stscq.backbones import Tokenizer
from stscq.data.tensors import to_float


@torch.no_grad()
def encode_rows(tokenizer: Tokenizer, images: np.ndarray, rows: np.ndarray, batch: int = 50) -> Tensor:
    """z_e of images[rows] (uint8), N x T x d, a batch at a time, on the tokenizer's device."""
    device = tokenizer.device
    parts = [tokenizer.encode(to_float(images[rows[i : i + batch]], device)) for i in range(0, len(rows), batch)]
    return torch.cat(parts)
