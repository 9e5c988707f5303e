"""Range coding of an image's symbols with integer tables, by the library `constriction`.

The coder works on 64-bit integers and probabilities of 1/2^24; a table that sums to 2^16 is handed over so that no
floating-point number is ever rounded (see `as_model`), so that every machine codes alike. docs/bitstream.md describes
the arithmetic. Axes: T tokens, K entries, M groups.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
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
    """The shortest bytes that `SymbolDecoder` reads as these symbols. index: T; group_table: M; token_tables: T x K,
    zero behind the last entry of a token that has fewer than K."""
    coder = constriction.stream.queue.RangeEncoder()
    if len(group_table) > 1:
        coder.encode(np.array([group], np.int32), FAMILY, as_model(group_table[None]))
    for tokens, size in runs_of_equal_size(token_tables):
        if size > 1:
            coder.encode(index[tokens].astype(np.int32), FAMILY, as_model(token_tables[tokens, :size]))
    return shortest(coder)


def runs_of_equal_size(tables: np.ndarray) -> Iterator[tuple[slice, int]]:
    """Neighbouring tokens with codebooks of the same size, and that size. tables: T x K, zero where is no entry."""
    sizes = np.count_nonzero(tables, 1)
    for start, end in pairwise([0, *(np.flatnonzero(np.diff(sizes)) + 1), len(sizes)]):
        yield slice(start, end), int(sizes[start])


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


class DamagedPayloadError(BitstreamError):
    """Of several payloads one is damaged: the one with this number, from 0."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.number = number


class SymbolDecoder:
    """The inverse of `encode`: `group` first, since it says which tables the tokens need.

    Its errors are DamagedPayloadErrors with the number of the payload among all that are read."""

    def __init__(self, payload: bytes, number: int = 0):
        self.number = number
        filled = payload + bytes(8 + -len(payload) % 4)
        self.coder = constriction.stream.queue.RangeDecoder(np.frombuffer(filled, ">u4").astype(np.uint32))

    def group(self, table: np.ndarray) -> int:
        """table: M."""
        return 0 if len(table) == 1 else self.symbol(as_model(table[None]))

    def symbol(self, model: np.ndarray) -> int:
        """The next symbol. model: 1 x K, of `as_model`."""
        try:
            return int(self.coder.decode(FAMILY, model)[0])
        except (AssertionError, ValueError) as problem:
            raise DamagedPayloadError(self.number, "the coded payload is damaged") from problem


def read_tokens(decoders: Sequence[SymbolDecoder], tables: ImageTables, T: int) -> np.ndarray:
    """The tokens of N images of one group, N x T: token by token, for the tables of each depend on those before it, and
    side by side, for one image is too little work to keep numpy busy."""
    index = np.zeros((len(decoders), T), np.int64)
    for token in range(T):
        rows = tables.next_tables()
        if rows.shape[1] > 1:
            models = as_model(rows)
            each = models if len(models) > 1 else np.broadcast_to(models, (len(decoders), rows.shape[1]))
            index[:, token] = [one.symbol(each[n : n + 1]) for n, one in enumerate(decoders)]
        tables.advance(index[:, token])
    return index
