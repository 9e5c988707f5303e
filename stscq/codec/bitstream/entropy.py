"""Range coding of an image's symbols with integer tables, by the library `constriction`.

The coder works on 64-bit integers and probabilities of 1/2^24; a table that sums to 2^16 is handed over so that no
floating-point number is ever rounded (see `as_model`), so that every machine codes alike. docs/bitstream.md describes
the arithmetic. Axes: T tokens, K entries, M groups.
"""

from typing import Any

import constriction
import numpy as np

from stscq.codec.bitstream.context import ImageTables
from stscq.codec.bitstream.symbol_tables import TOTAL
from stscq.errors import BitstreamError

FINE = (1 << 24) // TOTAL
"""constriction's probabilities are multiples of 2^-24."""
FAMILY = constriction.stream.model.Categorical(perfect=False)


def as_model(table: np.ndarray) -> np.ndarray:
    """Integer tables (T x K, each row summing to TOTAL) as constriction takes them.

    It gives every symbol 1/2^24, and spreads the other 2^24 - K in proportion to what it is given, rounding cumulative
    sums down. Numbers that sum to exactly 2^24 - K need no scaling and no rounding: symbol k gets FINE table[k] / 2^24.
    """
    return (table * FINE - 1).astype(np.float64)


def encode(group: int, index: np.ndarray, group_table: np.ndarray, token_tables: np.ndarray) -> bytes:
    """The shortest bytes that `decode` reads as these symbols. index: T; group_table: M; token_tables: T x K."""
    coder = constriction.stream.queue.RangeEncoder()
    if len(group_table) > 1:
        coder.encode(np.array([group], np.int32), FAMILY, as_model(group_table[None]))
    if token_tables.shape[1] > 1:
        coder.encode(index.astype(np.int32), FAMILY, as_model(token_tables))
    return shortest(coder)


def shortest(coder: Any) -> bytes:
    """The fewest bytes that, followed by zeros, lie in the interval at which the encoder has arrived.

    constriction fills up words of 32 bits; at 30 bytes an image that would cost 5 %.
    """
    words, (lower, width) = coder.pos()
    bits = 64 + 32 * words
    code = coder.get_compressed().astype(">u4").tobytes()
    inside = int.from_bytes(code, "big") << (bits - 8 * len(code))
    low = inside - (inside - lower) % (1 << 64)  # the interval's lower end, of which the state holds 64 bits
    for size in range(bits // 8 + 1):
        step = 1 << (bits - 8 * size)
        value = -(-low // step)
        if value * step < low + width:
            return value.to_bytes(size, "big")
    raise AssertionError("an interval of no width")


class SymbolDecoder:
    """The inverse of `encode`: `group` first, since it says which tables `index` needs."""

    def __init__(self, payload: bytes):
        filled = payload + bytes(8 + -len(payload) % 4)
        self.coder = constriction.stream.queue.RangeDecoder(np.frombuffer(filled, ">u4").astype(np.uint32))

    def group(self, table: np.ndarray) -> int:
        """table: M."""
        return int(self._read(table[None])[0])

    def index(self, tables: ImageTables, T: int) -> np.ndarray:
        """T entry numbers, one after the other: the table of each depends on those before it."""
        index = np.zeros(T, np.int64)
        for token in range(T):
            index[token] = self._read(tables.next_table())[0]
            tables.advance(int(index[token]))
        return index

    def _read(self, tables: np.ndarray) -> np.ndarray:
        if tables.shape[1] == 1:
            return np.zeros(len(tables), np.int64)
        try:
            return self.coder.decode(FAMILY, as_model(tables)).astype(np.int64)
        except (AssertionError, ValueError) as problem:
            raise BitstreamError("the coded payload is damaged") from problem
