"""The context model: each token's table, tilted by what the tokens before say about it, in integers alone.

A state of r numbers sums up the tokens so far; from it follows in which direction the next entry may lie, and the table
of the training set is tilted towards entries that lie there. A linear model of the entries, hence, of low rank. It runs
in integers (as float64, below 2^53, where sums and products are exact in any order), so that every machine codes alike.

Axes: N images, T tokens, K entries, f features of an entry, r numbers of state. Tables of tokens with fewer
entries than K are zero behind the last. docs/bitstream.md describes the arithmetic.
"""

from typing import NamedTuple

import numpy as np

from stscq.bits import ideal_bits
from stscq.codec.bitstream.symbol_tables import TOTAL

READ_BITS = 14
"""`read` holds multiples of 2^-14."""
STATE = (1 << 15) - 1
"""Largest magnitude of a number of the state."""
MOST_FEATURES, MOST_STATE, MOST_SHIFT = 16, 64, 40
STEPS = 256
"""Scores are in 1/STEPS bits."""
MOST_SCORE = 32 * STEPS
PIECE = 1 << 18
"""Features that are converted at once: 2 MiB in float64."""
NO_ENTRY = -(1 << 40)
"""In the place of a logarithm, behind the last entry of a token."""
LOG2 = np.rint(STEPS * np.log2(np.arange(1, TOTAL + 1))).astype(np.int64)
"""The logarithms of 1, 2, ..., TOTAL, in steps. None lies within 1e-6 of a half, so that every machine rounds alike."""
POWER = np.rint(2.0 ** (24 - np.arange(24 * STEPS) / STEPS)).astype(np.int64)
"""2^24 divided by 2^(0, 1, 2, ... steps)."""


class Context(NamedTuple):
    """The linear model. read: T x f x r, what the features of a token's entry add to the state; write: T x r x f, from
    the state to the direction in which the next entry is expected; both are whole numbers of 16 bits in float64.
    shift: a score is divided by 2^shift. With r = 0 there is no context: tables stay as they are."""

    read: np.ndarray
    write: np.ndarray
    shift: int


def no_context(T: int) -> Context:
    """The context that changes no table (r = 0)."""
    return Context(np.zeros((T, 0, 0)), np.zeros((T, 0, 0)), 0)


class ImageTables:
    """The tables of the tokens of images of one group: `tables` for all tokens of one image when encoding;
    `next_tables` and `advance`, one token after the other, for N images side by side when decoding."""

    def __init__(self, context: Context, base: np.ndarray, features: np.ndarray):
        """base: T x K, the tables of the images' group, each summing to TOTAL; features: T x K x f int8.

        Behind the last entry of a token that has fewer than K, `base` is zero."""
        self.read, self.write, self.step = context.read, context.write, 2.0**-context.shift
        self.base, self.features = base, features
        self.no_context = context.read.shape[2] == 0
        self.total = np.zeros((1, context.read.shape[2]))
        self.token = 0

    def tables(self, index: np.ndarray) -> np.ndarray:
        """T x K, of an image whose tokens are `index` (T); row t depends on the tokens before t alone."""
        if self.no_context:
            return self.base
        features = self.features[np.arange(len(index)), index].astype(np.float64)
        added = (features[:, None] @ self.read)[:, 0]
        total = np.cumsum(added, 0) - added
        step = max(1, PIECE // self.features[0].size)
        tokens = [slice(start, start + step) for start in range(0, len(index), step)]
        return np.concatenate([self._tilted(total[some], some) for some in tokens])

    def ideal_bits(self, index: np.ndarray) -> float:
        """Ideal code length of an image's tokens (T)."""
        return float(ideal_bits(self.tables(index)[np.arange(len(index)), index] / TOTAL).sum())

    def next_tables(self) -> np.ndarray:
        """N x K_j, for the next token of each image; 1 x K_j as long as they are the same for all."""
        size = np.count_nonzero(self.base[self.token])
        base = self.base[self.token : self.token + 1, :size]
        if self.no_context:
            return base
        direction = self._state(self.total) @ self.write[self.token]
        return self._tilt(base, direction @ self.features[self.token, :size].T.astype(np.float64))

    def advance(self, entries: np.ndarray) -> None:
        """Go on to the token behind the next, which is these entries (N)."""
        if not self.no_context:
            self.total = self.total + self.features[self.token, entries].astype(np.float64) @ self.read[self.token]
        self.token += 1

    def _tilted(self, total: np.ndarray, tokens: slice) -> np.ndarray:
        direction = self._state(total)[:, None] @ self.write[tokens]
        features = self.features[tokens].astype(np.float64)
        return self._tilt(self.base[tokens], (features @ direction.transpose(0, 2, 1))[..., 0])

    def _state(self, total: np.ndarray) -> np.ndarray:
        return np.floor(total * 2.0**-READ_BITS).clip(-STATE, STATE)

    def _tilt(self, base: np.ndarray, product: np.ndarray) -> np.ndarray:
        return tilt(base, np.floor(product * self.step).clip(-MOST_SCORE, MOST_SCORE).astype(np.int64))


def tilt(base: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Tables (n x K, at least 1 for each entry, summing to TOTAL; or 1 x K for all) with each entry 2^(score / STEPS)
    times as likely. score: n x K."""
    entry = base > 0
    logarithm = np.where(entry, LOG2[base - 1] + score, NO_ENTRY)
    below = logarithm.max(1, keepdims=True) - logarithm
    weight = np.where(below < len(POWER), POWER[np.minimum(below, len(POWER) - 1)], 0)
    table = entry + weight * (TOTAL - entry.sum(1, keepdims=True)) // weight.sum(1, keepdims=True)
    table[np.arange(len(table)), below.argmin(1)] += TOTAL - table.sum(1)
    return table
