"""How often each symbol occurs in the training set, as integers that every machine reads alike.

Axes: N images, M groups, T tokens, K entries. Every table of K (or M) symbols sums to TOTAL, and every symbol has at
least 1, so that every image can be coded.

With few images most counts of (group, token, entry) are 0 or 1. So the counts of one group are drawn towards those of
the token over all groups, these towards those of all tokens, and these towards equal shares. How strongly is decided on
people whose images were not counted: coding must pay off for people that the model has never seen.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

TOTAL = 1 << 16
"""Sum of every table."""
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 1e9)
"""Images' worth of belief in the coarser table; the last one leaves nothing of the finer one."""
FOLDS = 10


class Tables(NamedTuple):
    """group: M integers; tokens: M x T x K integers; each table sums to TOTAL."""

    group: np.ndarray
    tokens: np.ndarray


class Fitted(NamedTuple):
    """Tables, the strengths they were smoothed with, and the bits an image of people who were not counted."""

    tables: Tables
    strengths: dict[str, float]
    held_out_bits: float


class Counts(NamedTuple):
    """group: M counts; tokens: M x T x K counts."""

    group: np.ndarray
    tokens: np.ndarray


def count(group: np.ndarray, index: np.ndarray, M: int, K: int) -> Counts:
    """group: N numbers below M; index: N x T numbers below K."""
    T = index.shape[1]
    place = (group[:, None] * T + np.arange(T)) * K + index
    return Counts(np.bincount(group, minlength=M), np.bincount(place.ravel(), minlength=M * T * K).reshape(M, T, K))


def towards(counts: np.ndarray, prior: np.ndarray, strength: float) -> np.ndarray:
    """Shares along the last axis: `counts`, with `strength` more observations that fall as `prior` says."""
    total = counts.sum(-1, keepdims=True)
    return (counts + strength * prior) / (total + strength)


def book_shares(tokens: np.ndarray, strength: float) -> np.ndarray:
    """K: the shares of each entry over all groups and tokens, drawn towards equal ones. tokens: M x T x K counts."""
    _, T, K = tokens.shape
    return towards(tokens.sum((0, 1)), np.full(K, 1 / K), strength * T)


def token_shares(tokens: np.ndarray, book: np.ndarray, strength: float) -> np.ndarray:
    """T x K: the shares of each token over all groups, drawn towards those of all tokens (K)."""
    return towards(tokens.sum(0), book, strength)


def fit(group: np.ndarray, index: np.ndarray, identity: np.ndarray, M: int, K: int) -> Fitted:
    """Tables of the training set. group: N; index: N x T; identity: N names or numbers of people."""
    folds = folds_of(identity)
    everything = count(group, index, M, K)
    token = np.arange(index.shape[1])
    flat = np.full(M, 1 / M)

    def best(shares: Callable[[Counts, np.ndarray, np.ndarray, float], np.ndarray]) -> tuple[float, float]:
        """The strength with the fewest bits for people who were not counted, and these bits."""
        bits = np.zeros(len(STRENGTHS))
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            own = count(group[out], index[out], M, K)
            rest = Counts(*(a - b for a, b in zip(everything, own, strict=True)))
            for i, strength in enumerate(STRENGTHS):
                bits[i] -= np.log2(shares(rest, group[out], index[out], strength)).sum()
        return STRENGTHS[int(bits.argmin())], float(bits.min())

    def of_own_group(rest: Counts, g: np.ndarray, i: np.ndarray, strength: float) -> np.ndarray:
        shared = token_shares(rest.tokens, book_shares(rest.tokens, by_book), by_token)[token, i]
        return (rest.tokens[g[:, None], token, i] + strength * shared) / (rest.group[g][:, None] + strength)

    by_group, group_bits = best(lambda rest, g, i, s: towards(rest.group, flat, s)[g])
    by_book, _ = best(lambda rest, g, i, s: book_shares(rest.tokens, s)[i])
    by_token, _ = best(lambda rest, g, i, s: token_shares(rest.tokens, book_shares(rest.tokens, by_book), s)[token, i])
    by_own, token_bits = best(of_own_group)
    shared = token_shares(everything.tokens, book_shares(everything.tokens, by_book), by_token)
    tables = Tables(
        integers(towards(everything.group, flat, by_group)),
        integers(towards(everything.tokens, shared, by_own)),
    )
    strengths = {"group": by_group, "book": by_book, "token": by_token, "group_token": by_own}
    return Fitted(tables, strengths, (group_bits + token_bits) / len(group))


def folds_of(identity: np.ndarray) -> np.ndarray:
    """A fold for each image; all images of a person are in one. With one person there is one fold: all are held out."""
    _, person = np.unique(identity, return_inverse=True)
    return person % FOLDS


def integers(shares: np.ndarray) -> np.ndarray:
    """Shares along the last axis (of at most TOTAL symbols) as integers of at least 1 that sum to TOTAL.

    What rounding down leaves over goes to the largest remainders, the first of equals.
    """
    size = shares.shape[-1]
    free = shares * (TOTAL - size)
    whole = np.floor(free).astype(np.int64)
    left_over = TOTAL - size - whole.sum(-1, keepdims=True)
    rank = np.argsort(np.argsort(-(free - whole), axis=-1, kind="stable"), axis=-1, kind="stable")
    return whole + 1 + (rank < left_over)


def uniform(M: int, T: int, K: int) -> Tables:
    """Tables that favour nothing."""
    return Tables(integers(np.full(M, 1 / M)), integers(np.full((M, T, K), 1 / K)))
