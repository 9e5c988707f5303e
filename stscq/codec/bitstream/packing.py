"""Group and token indices as bytes, fixed length: log2 M bits for the group, then log2 K bits for each of T tokens.

Most significant bit first; the last byte is filled up with zeros.
"""

from math import ceil

import numpy as np

from stscq.bits import bits_of, payload_bits
from stscq.errors import StscqError


def to_bits(value: np.ndarray, width: int) -> np.ndarray:
    """(...,) integers in [0, 2^width) -> (..., width) bits, most significant first."""
    return (value[..., None] >> np.arange(width - 1, -1, -1)) & 1


def from_bits(bits: np.ndarray) -> np.ndarray:
    """The inverse of `to_bits`."""
    return (bits.astype(np.int64) << np.arange(bits.shape[-1] - 1, -1, -1)).sum(-1)


def pack(group: int, index: np.ndarray, K: int, M: int) -> bytes:
    """ceil(T log2 K + log2 M) / 8 bytes, rounded up. index: T entry numbers."""
    group_bits = to_bits(np.asarray(group), bits_of(M, "M"))
    token_bits = to_bits(index, bits_of(K, "K")).ravel()
    return np.packbits(np.concatenate([group_bits, token_bits]).astype(np.uint8)).tobytes()


def unpack(payload: bytes, T: int, K: int, M: int) -> tuple[int, np.ndarray]:
    """The inverse of `pack`. Raises StscqError when the payload has another length."""
    total = payload_bits(T, K, M)
    if len(payload) != ceil(total / 8):
        raise StscqError(f"a payload of {len(payload)} bytes, expected {ceil(total / 8)} (T = {T}, K = {K}, M = {M})")
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))[:total]
    width = bits_of(M, "M")
    return int(from_bits(bits[:width])), from_bits(bits[width:].reshape(T, bits_of(K, "K")))
