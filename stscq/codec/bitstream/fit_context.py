"""Fit the context (stscq.codec.bitstream.context) on training images: which features, which state, how sharp.

Axes: N images, M groups, T tokens, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels,
f features, r numbers of state.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from stscq.codec.bitstream.context import (
    MOST_FEATURES,
    MOST_SHIFT,
    READ_BITS,
    STATE,
    STEPS,
    Context,
    ImageTables,
    no_context,
)
from stscq.codec.bitstream.symbol_tables import SymbolTables, fit
from stscq.quantization.lookup import lookup
from stscq.quantization.search import Assignment

RANK = 32
"""Numbers of state: 16 to 128 did equally well on the demo's variants."""
MOST_IMAGES, MOST_HELD_OUT = 2048, 64
"""Images that are used, and how many of these are held out, at most."""
HELD_OUT = 4
"""One in so many people is held out, to choose ridge and sharpness by."""
RIDGES = (0.01, 0.1, 0.3, 1.0, 3.0)
SHARPNESS = (0.008, 0.016, 0.03, 0.06, 0.125, 0.25, 0.5)
MAX_FEATURE = 127
"""Largest magnitude of a feature (int8)."""
MAX_WEIGHT = (1 << 15) - 1
"""Largest magnitude of the numbers in `read` and `write` (int16)."""

GroupCodebooks = Callable[[int], np.ndarray]
"""From a group to its codebooks, S x K x d."""


class Basis(NamedTuple):
    """Features of an entry e of token t: (e - mean[t]) @ axes[t] * scale. mean: T x d; axes: T x d x f."""

    mean: np.ndarray
    axes: np.ndarray
    scale: float

    def features(self, codebooks: np.ndarray) -> np.ndarray:
        """T x K x f int8 of a group's S x K x d. Token by token, because a group's codebooks may have gigabytes."""
        T, _, f = self.axes.shape
        features = np.empty((T, codebooks.shape[1], f), np.int8)
        for t in range(T):
            entries = codebooks[t if len(codebooks) > 1 else 0]
            values = (entries.astype(np.float64) - self.mean[t]) @ self.axes[t] * self.scale
            features[t] = np.rint(values).clip(-MAX_FEATURE, MAX_FEATURE)
        return features


class TrainingSymbols(NamedTuple):
    """The symbols of N training images. group: N; index: N x T; identity: N people."""

    group: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    identity: np.ndarray

    def take(self, rows: np.ndarray) -> "TrainingSymbols":
        return TrainingSymbols(self.group[rows], self.index[rows], self.identity[rows])


class FittedContext(NamedTuple):
    """basis: None where no context helps people who were held out. bits: what the tokens of an image of theirs take on
    average; baseline_bits: the same without a context; settings: ridge and sharpness."""

    context: Context
    basis: Basis | None
    bits: float
    baseline_bits: float
    settings: dict[str, float]


def fit_context(
    symbols: TrainingSymbols, codebooks: GroupCodebooks, M: int, K: int, token_entries: Sequence[int] | None = None
) -> FittedContext:
    """Ridge and sharpness are those with which people who were held out take the fewest bits; then all are used.

    token_entries: how many of the K entries each token has (T), None where all have K.
    """
    symbols = symbols.take(np.arange(len(symbols.group))[:: -(-len(symbols.group) // MOST_IMAGES)])
    T = symbols.index.shape[1]
    counted, held_out = hold_out(symbols)
    tables = fit(*counted, M, K, token_entries).tables
    baseline = token_bits(no_context(T), lambda group: np.zeros((T, K, 0), np.int8), held_out, tables)
    basis = fit_basis(counted, codebooks)
    features = lru_cache(maxsize=None)(lambda group: basis.features(codebooks(group)))
    states = fit_states(counted, codebooks, basis)
    best = (baseline, 0.0, 0.0)
    for ridge in RIDGES:
        for sharpness in SHARPNESS:
            length = token_bits(fit_weights(states, ridge, sharpness), features, held_out, tables)
            best = min(best, (length, ridge, sharpness))
    length, ridge, sharpness = best
    settings = {"ridge": ridge, "sharpness": sharpness}
    if sharpness == 0:
        return FittedContext(no_context(T), None, baseline, baseline, settings)
    basis = fit_basis(symbols, codebooks)
    context = fit_weights(fit_states(symbols, codebooks, basis), ridge, sharpness)
    return FittedContext(context, basis, length, baseline, settings)


def hold_out(symbols: TrainingSymbols) -> tuple[TrainingSymbols, TrainingSymbols]:
    """The images to count, and those held out: of one in HELD_OUT people, or, with fewer people than that, one in
    HELD_OUT images. A single image is both."""
    people = np.unique(symbols.identity)
    out = np.isin(symbols.identity, people[HELD_OUT - 1 :: HELD_OUT])
    if not out.any():
        out = np.arange(len(symbols.group)) % HELD_OUT == 0
    rows = np.flatnonzero(out)
    counted = symbols if out.all() else symbols.take(np.flatnonzero(~out))
    return counted, symbols.take(rows[:: -(-len(rows) // MOST_HELD_OUT)])


def token_bits(
    context: Context, features: Callable[[int], np.ndarray], symbols: TrainingSymbols, tables: SymbolTables
) -> float:
    """Ideal code length of the tokens of an image, on average, under the tables that the codec would use.

    features: from a group to T x K x f int8.
    """
    total = 0.0
    for group in np.unique(symbols.group).tolist():
        image_tables = ImageTables(context, tables.tokens[group], features(group))
        for index in symbols.index[symbols.group == group]:
            total += image_tables.ideal_bits(index)
    return total / len(symbols.group)


def entries(symbols: TrainingSymbols, codebooks: GroupCodebooks) -> np.ndarray:
    """The entries of the tokens, N x T x d float64."""
    assignment = Assignment(torch.from_numpy(symbols.group), torch.from_numpy(symbols.index))
    return lookup(lambda group: torch.from_numpy(codebooks(group)), assignment).numpy().astype(np.float64)


def fit_basis(symbols: TrainingSymbols, codebooks: GroupCodebooks) -> Basis:
    """The leading principal axes of each token's entries; the largest feature of a training image becomes 127."""
    z = entries(symbols, codebooks)
    mean = z.mean(0)
    centred = (z - mean).transpose(1, 0, 2)
    _, vectors = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred)
    axes = vectors[:, :, ::-1][:, :, :MOST_FEATURES]
    largest = float(np.abs(centred @ axes).max(initial=0))
    return Basis(mean, axes, MAX_FEATURE / largest if largest > 0 else 1.0)


class States(NamedTuple):
    """features: T x N x f, of the tokens' entries; read: T x f x r; state: T x N x r, before each token."""

    features: np.ndarray
    read: np.ndarray
    state: np.ndarray


def fit_states(symbols: TrainingSymbols, codebooks: GroupCodebooks, basis: Basis) -> States:
    """The state: the leading principal components of all features of an image, as far as its tokens are known."""
    z = (entries(symbols, codebooks) - basis.mean).transpose(1, 0, 2) @ basis.axes * basis.scale
    features = np.rint(z).clip(-MAX_FEATURE, MAX_FEATURE)
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
    expected = np.linalg.solve(gram, turned @ features)  # T x r x f
    write = expected * (2 * STEPS / np.log(2) * sharpness / max(float(features.var()), 1e-9))
    shift = int(np.log2(MAX_WEIGHT / max(float(np.abs(write).max(initial=0)), 1e-9)).clip(0, MOST_SHIFT))
    write = np.rint(write * 2.0**shift).clip(-MAX_WEIGHT, MAX_WEIGHT)
    return Context(read.clip(-MAX_WEIGHT, MAX_WEIGHT), write, shift)


def components(flat: np.ndarray) -> np.ndarray:
    """At most RANK unit vectors (r x F) along which these features (N x F) vary most."""
    values, vectors = np.linalg.eigh(flat @ flat.T)  # N x N: fewer images than features
    values, vectors = values[::-1][:RANK], vectors[:, ::-1][:, :RANK]
    kept = values > 1e-9 * max(float(values[0]), 1e-9)
    return (vectors[:, kept].T @ flat) / np.sqrt(values[kept])[:, None]
