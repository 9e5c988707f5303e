"""Face verification: are these two images the same person? Axes: P pairs, N images, E embedding length."""

import numpy as np
import pandas as pd


def best_threshold(similarity: np.ndarray, same: np.ndarray, weight: np.ndarray | None = None) -> float:
    """The threshold with the highest accuracy of `similarity > threshold`, midway between two neighbouring scores.

    weight: of each pair (P), 1 where there is none. Among equals the middle one is taken, steadier than an end.
    """
    order = np.argsort(similarity, kind="stable")
    scores, truth = similarity[order], same[order]
    weights = np.ones(len(order), int) if weight is None else weight[order]
    # Threshold below score k: pairs k, k + 1, ... are called the same person.
    others, genuine = np.cumsum(weights * ~truth), np.cumsum(weights * truth)
    right = np.concatenate([[0], others]) + genuine[-1] - np.concatenate([[0], genuine])
    edges = np.concatenate([[scores[0] - 1e-3], (scores[1:] + scores[:-1]) / 2, [scores[-1] + 1e-3]])
    possible = np.concatenate([[True], scores[1:] > scores[:-1], [True]])  # no threshold lies between equal scores
    best = np.flatnonzero(possible & (right == right[possible].max()))
    return float(edges[best[len(best) // 2]])


def similarity(embeddings: np.ndarray, pairs: pd.DataFrame) -> np.ndarray:
    """Cosine of both images of each pair (columns a, b); embeddings by row of the store, of length 1."""
    return np.einsum("pe,pe->p", embeddings[pairs.a], embeddings[pairs.b])


def verify(embeddings: np.ndarray, pairs: pd.DataFrame) -> pd.DataFrame:
    """k-fold verification: each fold is judged with the threshold that is best on the others.

    embeddings: one row of length 1 for each row number that `pairs` (columns a, b, same, fold) mentions.
    Returns the pairs with the columns similarity, threshold and correct.
    """
    found = similarity(embeddings, pairs)
    same, fold = pairs.same.to_numpy(bool), pairs.fold.to_numpy()
    threshold = np.empty(len(pairs))
    for k in np.unique(fold):
        threshold[fold == k] = best_threshold(found[fold != k], same[fold != k])
    return pairs.assign(similarity=found, threshold=threshold, correct=(found > threshold) == same)


def accuracy(judged: pd.DataFrame) -> float:
    """Mean over the folds of the share of correct pairs, in [0, 1]."""
    return float(judged.groupby("fold").correct.mean().mean())


def judge_pairs(embeddings: np.ndarray, pairs: pd.DataFrame) -> pd.DataFrame:
    """`verify` for each protocol (column `protocol`) by itself."""
    if pairs.empty:  # of faces whose identities nobody knows
        return pairs.assign(similarity=[], threshold=[], correct=np.zeros(0, bool))
    parts = [verify(embeddings, part) for _, part in pairs.groupby("protocol", sort=False)]
    return pd.concat(parts, ignore_index=True)


def accuracies(judged: pd.DataFrame) -> dict[str, float]:
    """Protocol -> accuracy in %."""
    return {str(name): 100 * accuracy(part) for name, part in judged.groupby("protocol", sort=False)}
