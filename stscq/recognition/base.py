"""The one interface of all recognisers. Axes: N images of S x S pixels, E embedding length."""

from typing import Protocol

import numpy as np

from stscq.errors import DataError


class Recogniser(Protocol):
    device: str
    """What it runs on, for people to read."""

    def embed(self, images: np.ndarray) -> np.ndarray:
        """N x S x S x 3 uint8 RGB aligned faces -> N x E float32 embeddings of length 1."""


def check_images(images: np.ndarray) -> None:
    """Raises DataError unless images are N x S x S x 3 uint8."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"a recogniser takes N x S x S x 3 uint8 images, got {images.dtype} {images.shape}")


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32."""
    return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
