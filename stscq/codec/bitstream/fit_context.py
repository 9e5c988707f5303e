"""Fit the context (stscq.codec.bitstream.context) on training images: which features, which state, how sharp.

Axes: N images, M groups, T tokens, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels,
f features, r numbers of state.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from stscq.codec.bitstream.context import MOST_FEATURES, MOST_SHIFT, READ_BITS, STATE, STEPS, Context, Reading, silent
from stscq.codec.bitstream.symbol_tables import TOTAL, Tables, fit

RANK = 32
"""Numbers of state: 16 to 128 did equally well on the demo's variants."""
MOST_IMAGES, MOST_HELD_OUT = 2048, 64
HELD_OUT = 4
"""One in so many people chooses ridge and sharpness."""
RIDGES = (0.01, 0.1, 0.3, 1.0, 3.0)
SHARPNESS = (0.008, 0.016, 0.03, 0.06, 0.125, 0.25, 0.5)
LARGEST = 127
"""Of a feature (int8)."""
WIDEST = (1 << 15) - 1
"""Of `read` and `write` (int16)."""

Books = Callable[[int], np.ndarray]
"""A group's codebooks, S x K x d."""


class Basis(NamedTuple):
    """Features of an entry e of token t: (e - mean[t]) @ axes[t] * scale. mean: T x d; axes: T x d x f."""

    mean: np.ndarray
    axes: np.ndarray
    scale: float

    def features(self, book: np.ndarray) -> np.ndarray:
        """T x K x f int8 of a group's codebooks, S x K x d. Token by token: books may have gigabytes."""
        T, _, f = self.axes.shape
        found = np.empty((T, book.shape[1], f), np.int8)
        for t in range(T):
            entries = book[t if len(book) > 1 else 0]
            values = (entries.astype(np.float64) - self.mean[t]) @ self.axes[t] * self.scale
            found[t] = np.rint(values).clip(-LARGEST, LARGEST)
        return found


class Symbols(NamedTuple):
    """Of N images. group: N; index: N x T; identity: N people."""

    group: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    identity: np.ndarray

    def take(self, rows: np.ndarray) -> "Symbols":
        return Symbols(self.group[rows], self.index[rows], self.identity[rows])


class Fitted(NamedTuple):
    """basis: None where no context helps people who were not counted. bits: what these took, tokens alone, an image;
    plain_bits: without a context."""

    context: Context
    basis: Basis | None
    bits: float
    plain_bits: float
    chosen: dict[str, float]


def fit_context(symbols: Symbols, books: Books, M: int, K: int) -> Fitted:
    """Ridge and sharpness are those with which people who were held out take the fewest bits; then all are used."""
    symbols = symbols.take(np.arange(len(symbols.group))[:: -(-len(symbols.group) // MOST_IMAGES)])
    T = symbols.index.shape[1]
    counted, judge = hold_out(symbols)
    tables = fit(*counted, M, K).tables
    plain = bits(silent(T), lambda group: np.zeros((T, K, 0), np.int8), judge, tables)
    basis = fit_basis(counted, books)
    features = lru_cache(maxsize=None)(lambda group: basis.features(books(group)))
    states = follow(counted, books, basis)
    best = (plain, 0.0, 0.0)
    for ridge in RIDGES:
        for sharpness in SHARPNESS:
            length = bits(fit_weights(states, ridge, sharpness), features, judge, tables)
            best = min(best, (length, ridge, sharpness))
    length, ridge, sharpness = best
    chosen = {"ridge": ridge, "sharpness": sharpness}
    if sharpness == 0:
        return Fitted(silent(T), None, plain, plain, chosen)
    basis = fit_basis(symbols, books)
    return Fitted(fit_weights(follow(symbols, books, basis), ridge, sharpness), basis, length, plain, chosen)


def hold_out(symbols: Symbols) -> tuple[Symbols, Symbols]:
    """Most people to count, one in HELD_OUT to judge; with fewer people than that, images. A single image is both."""
    people = np.unique(symbols.identity)
    held = np.isin(symbols.identity, people[HELD_OUT - 1 :: HELD_OUT])
    if not held.any():
        held = np.arange(len(symbols.group)) % HELD_OUT == 0
    judge = np.flatnonzero(held)
    counted = symbols if held.all() else symbols.take(np.flatnonzero(~held))
    return counted, symbols.take(judge[:: -(-len(judge) // MOST_HELD_OUT)])


def bits(context: Context, features: Callable[[int], np.ndarray], judge: Symbols, tables: Tables) -> float:
    """Ideal code length of the tokens of an image, on average, under the tables that the codec would use.

    features: T x K x f int8 of a group.
    """
    token, total = np.arange(judge.index.shape[1]), 0.0
    for group in np.unique(judge.group).tolist():
        reading = Reading(context, tables.tokens[group], features(group))
        for index in judge.index[judge.group == group]:
            total -= np.log2(reading.tables(index)[token, index] / TOTAL).sum()
    return float(total / len(judge.group))


def entries(symbols: Symbols, books: Books) -> np.ndarray:
    """z_q, N x T x d."""
    T, found = symbols.index.shape[1], None
    for group in np.unique(symbols.group):
        book = books(group)
        found = np.zeros((*symbols.index.shape, book.shape[2])) if found is None else found
        rows = symbols.group == group
        token = np.arange(T) if len(book) > 1 else np.zeros(T, int)
        found[rows] = book[token, symbols.index[rows]]
    assert found is not None
    return found


def fit_basis(symbols: Symbols, books: Books) -> Basis:
    """The leading principal axes of each token's entries; the largest feature of a training image becomes 127."""
    z = entries(symbols, books)
    mean = z.mean(0)
    centred = (z - mean).transpose(1, 0, 2)
    _, vectors = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred)
    axes = vectors[:, :, ::-1][:, :, :MOST_FEATURES]
    largest = float(np.abs(centred @ axes).max(initial=0))
    return Basis(mean, axes, LARGEST / largest if largest > 0 else 1.0)


class States(NamedTuple):
    """features: T x N x f, of the chosen entries; read: T x f x r; state: T x N x r, before each token."""

    features: np.ndarray
    read: np.ndarray
    state: np.ndarray


def follow(symbols: Symbols, books: Books, basis: Basis) -> States:
    """The state: the leading principal components of all features of an image, as far as its tokens are known."""
    z = (entries(symbols, books) - basis.mean).transpose(1, 0, 2) @ basis.axes * basis.scale
    features = np.rint(z).clip(-LARGEST, LARGEST)
    T, N, f = features.shape
    unit = components(features.transpose(1, 0, 2).reshape(N, T * f)).reshape(-1, T, f)
    read = np.rint(unit.transpose(1, 2, 0) * 2.0**READ_BITS)
    added = features @ read
    state = np.floor((np.cumsum(added, 0) - added) * 2.0**-READ_BITS).clip(-STATE, STATE)
    return States(features, read, state)


def fit_weights(states: States, ridge: float, sharpness: float) -> Context:
    """Direction: the features that ridge regression expects from the state, times the sharpness over their variance.

    ridge: in units of the mean square of the state.
    """
    features, read, state = states
    turned = state.transpose(0, 2, 1)
    penalty = ridge * state.shape[1] * np.maximum((state**2).mean((1, 2)), 1e-9)
    gram = turned @ state + penalty[:, None, None] * np.eye(state.shape[2])
    guess = np.linalg.solve(gram, turned @ features)  # T x r x f
    write = guess * (2 * STEPS / np.log(2) * sharpness / max(float(features.var()), 1e-9))
    shift = int(np.log2(WIDEST / max(float(np.abs(write).max(initial=0)), 1e-9)).clip(0, MOST_SHIFT))
    return Context(read.clip(-WIDEST, WIDEST), np.rint(write * 2.0**shift).clip(-WIDEST, WIDEST), shift)


def components(flat: np.ndarray) -> np.ndarray:
    """At most RANK unit vectors (r x F) along which these features (N x F) vary most."""
    values, vectors = np.linalg.eigh(flat @ flat.T)  # N x N: fewer images than features
    values, vectors = values[::-1][:RANK], vectors[:, ::-1][:, :RANK]
    kept = values > 1e-9 * max(float(values[0]), 1e-9)
    return (vectors[:, kept].T @ flat) / np.sqrt(values[kept])[:, None]
