"""An image's symbols as bytes: fixed-length, or range-coded where that is shorter.

A payload has no flag that says which: it is fixed-length if it has the length of that, and coded if it is shorter. One
payload stands for one image's symbols and the other way round, so that whatever is no payload can be refused.
"""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np

from stscq.bits import payload_bits
from stscq.codec.bitstream import entropy
from stscq.codec.bitstream.context import ImageTables
from stscq.codec.bitstream.packing import pack, unpack
from stscq.errors import BitstreamError


class Alphabet(NamedTuple):
    """T tokens of K entries in one of M groups, and how likely they are.

    group_table: M, the table of the groups; image_tables: from a group to the tables of one image's tokens.
    """

    T: int
    K: int
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
    if len(payload) > alphabet.fixed_bytes:
        raise BitstreamError(f"a payload of {len(payload)} bytes; this model's have at most {alphabet.fixed_bytes}")
    if len(payload) == alphabet.fixed_bytes:
        group, index = unpack(payload, alphabet.T, alphabet.K, alphabet.M)
    else:
        decoder = entropy.SymbolDecoder(payload)
        group = decoder.group(alphabet.group_table)
        index = decoder.index(alphabet.image_tables(group), alphabet.T)
    if write(group, index, alphabet) != payload:
        raise BitstreamError("the payload is damaged: no image has these bytes")
    return group, index
