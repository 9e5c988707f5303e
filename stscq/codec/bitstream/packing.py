"""Group and token indices as bytes, fixed length: log2 M bits for the group, then log2 K bits for each of T tokens, or
log2 K_j where tokens have codebooks of unequal size (a token of one entry has no bits).

Most significant bit first; the last byte is filled up with zeros.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np

from stscq.bits import bits_of, payload_bits, token_bits
from stscq.errors import StscqError


def to_bits(value: np.ndarray, width: int) -> np.ndarray:
    """(...,) integers in [0, 2^width) -> (..., width) bits, most significant first."""
    return (value[..., None] >> np.arange(width - 1, -1, -1)) & 1


def from_bits(bits: np.ndarray) -> np.ndarray:
    """The inverse of `to_bits`."""
    return (bits.astype(np.int64) << np.arange(bits.shape[-1] - 1, -1, -1)).sum(-1)


def pack(group: int, index: np.ndarray, K: int | Sequence[int], M: int) -> bytes:
    """ceil(T log2 K + log2 M) / 8 bytes, rounded up. index: T entry numbers."""
    group_bits = to_bits(np.asarray(group), bits_of(M, "M"))
    widths = np.array(token_bits(len(index), K))
    most = int(widths.max(initial=0))
    written = np.arange(most) >= most - widths[:, None]  # the last bits of each, of `most`
    tokens = to_bits(index, most)[written]
    return np.packbits(np.concatenate([group_bits, tokens]).astype(np.uint8)).tobytes()


def unpack(payload: bytes, T: int, K: int | Sequence[int], M: int) -> tuple[int, np.ndarray]:
    """The inverse of `pack`. Raises StscqError when the payload has another length."""
    total = payload_bits(T, K, M)
    if len(payload) != ceil(total / 8):
        raise StscqError(f"a payload of {len(payload)} bytes, expected {ceil(total / 8)} (T = {T}, K = {K}, M = {M})")
    bits = np.unpackbits(np.frombuffer(payload, np.uint8))[:total]
    width = bits_of(M, "M")
    widths = np.array(token_bits(T, K))
    most = int(widths.max(initial=0))
    tokens = np.zeros((T, most), np.uint8)
    tokens[np.arange(most) >= most - widths[:, None]] = bits[width:]
    return int(from_bits(bits[:width])), from_bits(tokens)
