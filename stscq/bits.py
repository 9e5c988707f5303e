"""How many bits symbols take: at a fixed length, and under an ideal entropy coder.

Axes: M groups, T tokens, K entries. Where tokens have codebooks of unequal size, K is a sequence, one number a token.
"""

from collections.abc import Sequence

import numpy as np

from stscq.errors import StscqError


def bits_of(size: int, name: str) -> int:
    """log2 of a power of two. Raises StscqError for any other number."""
    if size < 1 or size & (size - 1):
        raise StscqError(f"{name} = {size} is no power of two, so its indices have no fixed number of bits")
    return size.bit_length() - 1


def token_bits(T: int, K: int | Sequence[int]) -> list[int]:
    """log2 K of each of T tokens."""
    return [bits_of(K, "K")] * T if isinstance(K, int) else [bits_of(size, "K") for size in K]


def payload_bits(T: int, K: int | Sequence[int], M: int) -> int:
    """T log2 K + log2 M; the sum of log2 K_j where tokens have K_j entries."""
    return sum(token_bits(T, K)) + bits_of(M, "M")


def ideal_bits(probability: np.ndarray) -> np.ndarray:
    """What an ideal entropy coder spends on symbols of these probabilities; the same shape."""
    return -np.log2(probability)
