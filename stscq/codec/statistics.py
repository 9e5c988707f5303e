"""How often each symbol occurs in the training set, as integers that every machine reads alike.

Axes: N images, M groups, T tokens, K entries. Every table of K (or M) symbols sums to TOTAL, and every symbol has at
least 1, so that every image can be coded.

With few images most counts of (group, token, entry) are 0 or 1. So the counts of one group are drawn towards those of
the token over all groups, these towards those of all tokens, and these towards equal shares. How strongly is decided on
people whose images were not counted: coding must pay off for people that the model has never seen.
"""

from collections.abc import Iterator
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


def token_shares(tokens: np.ndarray, strength: float) -> np.ndarray:
    """T x K: the shares of each token over all groups, drawn towards those of all tokens."""
    K = tokens.shape[-1]
    book = towards(tokens.sum((0, 1)), np.full(K, 1 / K), float(K))
    return towards(tokens.sum(0), book, strength)


def fit(group: np.ndarray, index: np.ndarray, identity: np.ndarray, M: int, K: int) -> Fitted:
    """Tables of the training set. group: N; index: N x T; identity: N names or numbers of people."""
    folds = folds_of(identity)
    everything = count(group, index, M, K)

    def held_out() -> Iterator[tuple[Counts, np.ndarray, np.ndarray]]:
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            own = count(group[out], index[out], M, K)
            yield Counts(*(a - b for a, b in zip(everything, own, strict=True))), group[out], index[out]

    bits = np.zeros((3, len(STRENGTHS)))  # of groups; of tokens with group counts left aside; of tokens
    for rest, g, _ in held_out():
        for i, strength in enumerate(STRENGTHS):
            bits[0, i] += -np.log2(towards(rest.group, np.full(M, 1 / M), strength)[g]).sum()
    for rest, _, index_out in held_out():
        for i, strength in enumerate(STRENGTHS):
            bits[1, i] += -np.log2(token_shares(rest.tokens, strength)[np.arange(index.shape[1]), index_out]).sum()
    by_token = STRENGTHS[int(bits[1].argmin())]
    for rest, g, index_out in held_out():
        tokens = np.arange(index.shape[1])
        shares = token_shares(rest.tokens, by_token)[tokens, index_out]
        own, total = rest.tokens[g[:, None], tokens, index_out], rest.group[g][:, None]
        for i, strength in enumerate(STRENGTHS):
            bits[2, i] += -np.log2((own + strength * shares) / (total + strength)).sum()
    by_group, by_group_token = (STRENGTHS[int(bits[row].argmin())] for row in (0, 2))
    tables = Tables(
        integers(towards(everything.group, np.full(M, 1 / M), by_group)),
        integers(towards(everything.tokens, token_shares(everything.tokens, by_token), by_group_token)),
    )
    strengths = {"group": by_group, "token": by_token, "group_token": by_group_token}
    return Fitted(tables, strengths, float((bits[0].min() + bits[2].min()) / len(group)))


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
