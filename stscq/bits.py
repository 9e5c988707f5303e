"""How many bits symbols take: at a fixed length, and under an ideal entropy coder.

Axes: M groups, T tokens, K entries.
"""

import numpy as np

from stscq.errors import StscqError


def bits_of(size: int, name: str) -> int:
    """log2 of a power of two. Raises StscqError for any other number."""
    if size < 1 or size & (size - 1):
        raise StscqError(f"{name} = {size} is no power of two, so its indices have no fixed number of bits")
    return size.bit_length() - 1


def payload_bits(T: int, K: int, M: int) -> int:
    """T log2 K + log2 M."""
    return T * bits_of(K, "K") + bits_of(M, "M")


def ideal_bits(probability: np.ndarray) -> np.ndarray:
    """What an ideal entropy coder spends on symbols of these probabilities; the same shape."""
    return -np.log2(probability)
