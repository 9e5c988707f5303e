"""An image's symbols as bytes: fixed-length, or range-coded where that is shorter.

A payload has no flag that says which: it is fixed-length if it has the length of that, and coded if it is shorter. One
payload stands for one image's symbols and the other way round, so that whatever is no payload can be refused.
"""

from collections.abc import Callable, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np

from stscq.bits import payload_bits
from stscq.codec.bitstream import entropy
from stscq.codec.bitstream.context import ImageTables
from stscq.codec.bitstream.packing import pack, unpack

TOGETHER = 1 << 18
"""Numbers in the tables of the images that are decoded side by side: 2 MiB in float64."""


class Alphabet(NamedTuple):
    """T tokens of K entries (a number for each token where they differ) in one of M groups, and how likely they are.

    group_table: M, the table of the groups; image_tables: from a group to the tables of one image's tokens.
    """

    T: int
    K: int | Sequence[int]
    M: int
    group_table: np.ndarray
    image_tables: Callable[[int], ImageTables]

    @property
    def fixed_bytes(self) -> int:
        """The length of a fixed-length payload."""
        return ceil(payload_bits(self.T, self.K, self.M) / 8)


def coded(group: int, index: np.ndarray, alphabet: Alphabet) -> bytes:
    """Range-coded, however long. index: T."""
    return entropy.encode(group, index, alphabet.group_table, alphabet.image_tables(group).tables(index))


def fixed(group: int, index: np.ndarray, alphabet: Alphabet) -> bytes:
    """Fixed-length. index: T."""
    return pack(group, index, alphabet.K, alphabet.M)


def write(group: int, index: np.ndarray, alphabet: Alphabet) -> bytes:
    """The payload of one image: the shorter form; fixed-length when both have the same length."""
    range_coded = coded(group, index, alphabet)
    return range_coded if len(range_coded) < alphabet.fixed_bytes else fixed(group, index, alphabet)


def read(payload: bytes, alphabet: Alphabet) -> tuple[int, np.ndarray]:
    """Group and T indices: the inverse of `write`. Raises BitstreamError when `write` cannot have written this."""
    (group,), (index,) = read_all([payload], alphabet)
    return int(group), index


def read_all(payloads: Sequence[bytes], alphabet: Alphabet) -> tuple[np.ndarray, np.ndarray]:
    """Groups (N) and indices (N x T) of many: the inverse of `write`, several times as fast as one after the other.

    Raises entropy.DamagedPayloadError for one that `write` cannot have written.
    """
    group = np.zeros(len(payloads), np.int64)
    index = np.zeros((len(payloads), alphabet.T), np.int64)
    coded: dict[int, list[entropy.SymbolDecoder]] = {}
    for n, payload in enumerate(payloads):
        if len(payload) > alphabet.fixed_bytes:
            said = f"a payload of {len(payload)} bytes; this model's have at most {alphabet.fixed_bytes}"
            raise entropy.DamagedPayloadError(n, said)
        if len(payload) == alphabet.fixed_bytes:
            group[n], index[n] = unpack(payload, alphabet.T, alphabet.K, alphabet.M)
        else:
            decoder = entropy.SymbolDecoder(payload, n)
            group[n] = decoder.group(alphabet.group_table)
            coded.setdefault(int(group[n]), []).append(decoder)
    most = max(1, TOGETHER // (alphabet.K if isinstance(alphabet.K, int) else max(alphabet.K)))
    for g, decoders in coded.items():
        for i in range(0, len(decoders), most):
            some = decoders[i : i + most]
            index[[one.number for one in some]] = entropy.read_tokens(some, alphabet.image_tables(g), alphabet.T)
    for n, payload in enumerate(payloads):
        if write(int(group[n]), index[n], alphabet) != payload:
            raise entropy.DamagedPayloadError(n, "the payload is damaged: no image has these bytes")
    return group, index
