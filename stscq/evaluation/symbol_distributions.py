"""Probability models of a codec's symbols, from coarse to fine: what a better entropy coder would know.

Axes: N images, M groups, T tokens, K entries, d channels. A model says, token after token in their order, how probable
each of the K entries is, from what a decoder has read by then; so every model could be coded with. Counts are shrunk to
the next coarser model: with few training people most cells are empty.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stscq.bits import ideal_bits
from stscq.codec.bitstream.symbol_tables import count, shrink


class Symbols(NamedTuple):
    """group: N; index: N x T; z: N x T x d, the entries that the indices name."""

    group: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here
    z: np.ndarray

    def take(self, rows: np.ndarray) -> "Symbols":
        return Symbols(self.group[rows], self.index[rows], self.z[rows])


class Strengths(NamedTuple):
    """Observations that the coarser model counts for: pooled (to uniform), position and group (to pooled),
    group_position (to position)."""

    pooled: float
    position: float
    group: float
    group_position: float


class Tables(NamedTuple):
    """group_choice: M; pooled: K; position: T x K; group: M x K; group_position: M x T x K.

    Each sums to 1 over its last axis.
    """

    group_choice: np.ndarray
    pooled: np.ndarray
    position: np.ndarray
    group: np.ndarray
    group_position: np.ndarray


def tables(symbols: Symbols, M: int, K: int, strengths: Strengths) -> Tables:
    """Of training images. No probability is 0: the coarsest model is shrunk to the uniform one."""
    counts = count(symbols.group, symbols.index, M, K).tokens
    pooled = shrink(counts.sum((0, 1)), np.full(K, 1 / K), strengths.pooled)
    position = shrink(counts.sum(0), pooled, strengths.position)
    return Tables(
        group_choice=shrink(np.bincount(symbols.group, minlength=M), np.full(M, 1 / M), M / 2),
        pooled=pooled,
        position=position,
        group=shrink(counts.sum(1), pooled, strengths.group),
        group_position=shrink(counts, position, strengths.group_position),
    )


class Neighbours(NamedTuple):
    """A linear guess of each token's entry from the entries of tokens before it.

    context: for each token the earlier ones that it is guessed from; mean: T x d; weight: for each token F x d with
    F = len(context) * d; sharpness: how much an entry near the guess is preferred.
    """

    context: Sequence[Sequence[int]]
    mean: np.ndarray
    weight: Sequence[np.ndarray]
    sharpness: float

    def guess(self, z: np.ndarray, token: int) -> np.ndarray:
        """z: N x T x d, of which only earlier tokens are looked at. N x d."""
        before = list(self.context[token])
        features = (z[:, before] - self.mean[before]).reshape(len(z), -1)
        return self.mean[token] + features @ self.weight[token]


def context_of(T: int, side: int | None) -> list[list[int]]:
    """On a grid of `side` x `side` tokens: left, above left, above, above right; without a grid all earlier tokens."""
    if side is None:
        return [list(range(token)) for token in range(T)]
    steps = ((0, -1), (-1, -1), (-1, 0), (-1, 1))
    places = [divmod(token, side) for token in range(T)]
    return [[(y + dy) * side + x + dx for dy, dx in steps if y + dy >= 0 and 0 <= x + dx < side] for y, x in places]


def fit_neighbours(z: np.ndarray, context: Sequence[Sequence[int]], ridge: float, sharpness: float) -> Neighbours:
    """Ridge regression, token by token. z: N x T x d; ridge: in units of the mean variance of the features times N."""
    mean = z.mean(0)
    centred = z - mean
    weight = []
    for token, before in enumerate(context):
        features = centred[:, list(before)].reshape(len(z), -1)
        target = centred[:, token]
        if not before:
            weight.append(np.zeros((0, z.shape[2])))
            continue
        penalty = ridge * len(z) * max(float((features**2).mean()), 1e-12)
        if features.shape[1] <= len(z):
            gram = features.T @ features + penalty * np.eye(features.shape[1])
            weight.append(np.linalg.solve(gram, features.T @ target))
        else:  # the same solution, from the smaller of the two systems
            weight.append(features.T @ np.linalg.solve(features @ features.T + penalty * np.eye(len(z)), target))
    return Neighbours(context, mean, weight, sharpness)


RAREST = 1e-9
"""Least weight of an entry beside the most probable one."""


def tilted(base: np.ndarray, entries: np.ndarray, guess: np.ndarray, sharpness: float) -> np.ndarray:
    """N x K: `base` (N x K), each entry (N x K x d) made rarer by exp(-sharpness * squared distance to the guess)."""
    distance = ((entries - guess[:, None]) ** 2).sum(-1)
    logits = np.log(base) - sharpness * distance
    weights = np.exp(logits - logits.max(1, keepdims=True)).clip(RAREST)  # what never happens would take infinite bits
    return weights / weights.sum(1, keepdims=True)


MODELS = ("fixed", "pooled", "position", "group", "group_position", "neighbours")


def distributions(
    symbols: Symbols, codebooks: np.ndarray, trained: Tables, neighbours: Neighbours
) -> Iterator[dict[str, np.ndarray]]:
    """For each token in turn, N x K probabilities under each of MODELS.

    codebooks: M x T x K x d, as the decoder takes them. Of a token's own and later indices nothing is used.
    """
    N, T = symbols.index.shape
    K = len(trained.pooled)
    for token in range(T):
        base = trained.group_position[symbols.group, token]
        guess = neighbours.guess(symbols.z, token)
        yield {
            "fixed": np.full((N, K), 1 / K),
            "pooled": np.broadcast_to(trained.pooled, (N, K)),
            "position": np.broadcast_to(trained.position[token], (N, K)),
            "group": trained.group[symbols.group],
            "group_position": base,
            "neighbours": tilted(base, codebooks[symbols.group, token], guess, neighbours.sharpness),
        }


def probabilities(symbols: Symbols, codebooks: np.ndarray, trained: Tables, neighbours: Neighbours) -> np.ndarray:
    """len(MODELS) x N x T: of the indices that are really there."""
    rows = np.arange(len(symbols.group))
    return np.stack(
        [
            np.stack([one[model][rows, symbols.index[:, token]] for model in MODELS])
            for token, one in enumerate(distributions(symbols, codebooks, trained, neighbours))
        ],
        axis=-1,
    )


def mixture_weights(probability: np.ndarray, rounds: int = 200) -> np.ndarray:
    """Weights (they sum to 1) of the mixture of models that codes these symbols shortest. probability: models x N x T.

    Expectation maximisation; the problem is convex.
    """
    flat = probability.reshape(len(probability), -1)
    weights = np.full(len(flat), 1 / len(flat))
    for _ in range(rounds):
        share = weights[:, None] * flat
        weights = (share / share.sum(0)).mean(1)
    return weights


def bits(probability: np.ndarray) -> np.ndarray:
    """Ideal code length of each image's indices: (..., N, T) -> (..., N)."""
    return ideal_bits(probability).sum(-1)


def empirical_bits(symbols: Symbols, M: int, K: int) -> float:
    """Bits an image at the entropy of these very images, group and each token by itself: no decoder knows that."""
    counts = count(symbols.group, symbols.index, M, K)
    group, token = counts.group / len(symbols.group), counts.tokens.sum(0) / len(symbols.group)
    return float(sum((p[p > 0] * ideal_bits(p[p > 0])).sum() for p in (group, *token)))
