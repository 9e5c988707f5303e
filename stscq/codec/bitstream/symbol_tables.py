"""How often each symbol occurs in the training set, as integers that every machine reads alike.

Axes: N images, M groups, T tokens, K entries. Every table of K (or M) symbols sums to TOTAL, and every symbol has at
least 1, so that every image can be coded. Tables of tokens with fewer entries than K are zero behind the last.

With few images most counts of (group, token, entry) are 0 or 1. So the counts of one group are shrunk towards those of
the token over all groups, these towards those of all tokens, and these towards equal shares. How strongly is decided on
people whose images were not counted: coding must pay off for people that the model has never seen.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from stscq.bits import ideal_bits

TOTAL = 1 << 16
"""Sum of every table."""
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 1e9)
"""For how many images the coarser table counts; with the last one the finer table equals it."""
FOLDS = 10


class SymbolTables(NamedTuple):
    """group: M integers; tokens: M x T x K integers; each table sums to TOTAL."""

    group: np.ndarray
    tokens: np.ndarray


class FittedTables(NamedTuple):
    """strengths: how strongly each table was shrunk; held_out_bits: an image, of people who were not counted."""

    tables: SymbolTables
    strengths: dict[str, float]
    held_out_bits: float


class SymbolCounts(NamedTuple):
    """group: M counts; tokens: M x T x K counts."""

    group: np.ndarray
    tokens: np.ndarray


def count(group: np.ndarray, index: np.ndarray, M: int, K: int) -> SymbolCounts:
    """group: N numbers below M; index: N x T numbers below K."""
    T = index.shape[1]
    place = (group[:, None] * T + np.arange(T)) * K + index
    return SymbolCounts(
        np.bincount(group, minlength=M), np.bincount(place.ravel(), minlength=M * T * K).reshape(M, T, K)
    )


def shrink(counts: np.ndarray, prior: np.ndarray, strength: float, total: np.ndarray | None = None) -> np.ndarray:
    """Probabilities along the last axis: `counts` and `strength` more observations that are distributed as the prior.

    total: the sum of all counts, where `counts` are some of them.
    """
    if total is None:
        total = counts.sum(-1, keepdims=True)
    return (counts + strength * prior) / (total + strength)


def entry_shares(tokens: np.ndarray, strength: float) -> np.ndarray:
    """K: the shares of each entry over all groups and tokens, shrunk towards equal ones. tokens: M x T x K counts."""
    _, T, K = tokens.shape
    return shrink(tokens.sum((0, 1)), np.full(K, 1 / K), strength * T)


def token_shares(tokens: np.ndarray, entry: np.ndarray, strength: float) -> np.ndarray:
    """T x K: the shares of each token over all groups, shrunk towards those of all tokens (T x K)."""
    return shrink(tokens.sum(0), entry, strength)


def fit(
    group: np.ndarray, index: np.ndarray, identity: np.ndarray, M: int, K: int, entries: Sequence[int] | None = None
) -> FittedTables:
    """Tables of the training set. group: N; index: N x T; identity: N names or numbers of people.

    entries: how many of the K each token has (T), None where all have K.
    """
    folds = folds_of(identity)
    has = np.arange(K) < np.array(entries or [K])[:, None]  # T x K, or 1 x K for all
    everything = count(group, index, M, K)
    token = np.arange(index.shape[1])
    flat = np.full(M, 1 / M)

    def best(shares: Callable[[SymbolCounts, np.ndarray, np.ndarray, float], np.ndarray]) -> tuple[float, float]:
        """The strength with the fewest bits for people who were not counted, and these bits. shares: from the counts of
        the other folds, groups, indices and a strength to the probabilities of these symbols."""
        bits = np.zeros(len(STRENGTHS))
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            own = count(group[out], index[out], M, K)
            rest = SymbolCounts(*(a - b for a, b in zip(everything, own, strict=True)))
            for i, strength in enumerate(STRENGTHS):
                bits[i] += ideal_bits(shares(rest, group[out], index[out], strength)).sum()
        return STRENGTHS[int(bits.argmin())], float(bits.min())

    def own_entries(tokens: np.ndarray, strength: float) -> np.ndarray:
        """T x K: the shares of each entry over all tokens, among the entries that a token has."""
        shares = np.broadcast_to(entry_shares(tokens, strength), tokens.shape[1:]) * has
        return shares if has.all() else shares / shares.sum(1, keepdims=True)

    def of_own_group(rest: SymbolCounts, g: np.ndarray, i: np.ndarray, strength: float) -> np.ndarray:
        shared = token_shares(rest.tokens, own_entries(rest.tokens, by_entry), by_token)[token, i]
        return shrink(rest.tokens[g[:, None], token, i], shared, strength, rest.group[g][:, None])

    by_group, group_bits = best(lambda rest, g, i, s: shrink(rest.group, flat, s)[g])
    by_entry, _ = best(lambda rest, g, i, s: own_entries(rest.tokens, s)[token, i])
    by_token, _ = best(lambda rest, g, i, s: token_shares(rest.tokens, own_entries(rest.tokens, by_entry), s)[token, i])
    by_own, token_bits = best(of_own_group)
    shared = token_shares(everything.tokens, own_entries(everything.tokens, by_entry), by_token)
    tables = SymbolTables(
        integers(shrink(everything.group, flat, by_group)),
        integers(shrink(everything.tokens, shared, by_own), has),
    )
    strengths = {"group": by_group, "entry": by_entry, "token": by_token, "group_token": by_own}
    return FittedTables(tables, strengths, (group_bits + token_bits) / len(group))


def folds_of(identity: np.ndarray) -> np.ndarray:
    """A fold for each image; all images of a person are in one. With one person there is one fold: all are held out."""
    _, person = np.unique(identity, return_inverse=True)
    return person % FOLDS


def integers(shares: np.ndarray, has: np.ndarray | None = None) -> np.ndarray:
    """Shares along the last axis (of at most TOTAL symbols) as integers of at least 1 that sum to TOTAL.

    What rounding down leaves over goes to the largest remainders, the first of equals. has: which of them are symbols,
    of a shape that broadcasts; None for all. Others have shares of 0, and get 0.
    """
    has = np.broadcast_to(np.ones(1, bool) if has is None else has, shares.shape)
    size = has.sum(-1, keepdims=True)
    free = shares * (TOTAL - size)
    whole = np.floor(free).astype(np.int64)
    left_over = TOTAL - size - whole.sum(-1, keepdims=True)
    remainder = np.where(has, free - whole, -1)
    rank = np.argsort(np.argsort(-remainder, axis=-1, kind="stable"), axis=-1, kind="stable")
    return whole + has + (rank < left_over)


def uniform(M: int, T: int, K: int, entries: Sequence[int] | None = None) -> SymbolTables:
    """Tables in which all symbols are equally likely, as near as integers allow. entries: as `fit` has them."""
    sizes = np.array(entries or [K] * T)[:, None]
    has = np.arange(K) < sizes
    return SymbolTables(integers(np.full(M, 1 / M)), integers(np.broadcast_to(has / sizes, (M, T, K)), has))
