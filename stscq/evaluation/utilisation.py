"""How much of the codebooks a set of images uses. Axes: N images, M groups, T tokens, K entries.

Three readings of "utilisation", since the published ones differ (docs/method.md).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stscq.quantization.search import Assignment


class Utilisation(NamedTuple):
    """Shares in [0, 1].

    per_token: for each token j, the share of its M K entries used at least once (T numbers).
    all_entries: the share of all M T K (group, token, entry) used.
    per_group: for each group i, the share of its T K (token, entry) used (M numbers).
    merged: the share of the M K (group, entry) used by any token.
    bound_all_entries: what N images can reach at most of all_entries: of each token N of its M K_j.
    groups: the share of the M groups used.
    """

    per_token: np.ndarray
    per_group: np.ndarray
    all_entries: float
    merged: float
    bound_all_entries: float
    groups: float


def utilisation(assignment: Assignment, M: int, K: int, entries: Sequence[int] | None = None) -> Utilisation:
    """Shares of M groups with K entries a token that the assignment of N images uses.

    entries: how many of the K each token has (T), None where all have K.
    """
    group, index = assignment.group.numpy(), assignment.index.numpy()
    N, T = index.shape
    used = np.zeros((M, T, K), dtype=bool)
    used[group[:, None], np.arange(T), index] = True
    sizes = np.array(entries or [K] * T)
    return Utilisation(
        per_token=used.sum((0, 2)) / (M * sizes),
        per_group=used.sum((1, 2)) / sizes.sum(),
        all_entries=float(used.sum() / (M * sizes.sum())),
        merged=float(used.any(1).mean()),
        bound_all_entries=float(np.minimum(N, M * sizes).sum() / (M * sizes.sum())),
        groups=float(used.any((1, 2)).mean()),
    )
