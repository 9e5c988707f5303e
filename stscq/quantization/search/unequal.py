"""Codebooks of unequal size: token j has K_j entries of its own.

Tokens of one size are searched together, as codebooks of equal size are; NN adds up the totals of all of them.
Axes: B images, M groups, T tokens, K the largest K_j, d channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search.prepared import PreparedCodebooks


class UnequalCodebooks:
    """M x T x K x d, of which token j's first K_j = entries[j] are entries, by size.

    Attributes: groups (as given), metric, M, S (T), K, d, parts (the tokens of each size and their codebooks,
    M x S x K_j x d), reach (M x T, see `Norms`, known of the groups that were searched).
    """

    def __init__(self, groups: Tensor, metric: Metric, entries: Sequence[int]):
        """Raises ValueError where `entries` is not a number up to K for each token."""
        M, T, K, d = groups.shape
        if len(entries) != T or not all(1 <= size <= K for size in entries):
            raise ValueError(f"entries must hold a number from 1 to {K} for each of {T} tokens")
        self.groups, self.metric, self.M, self.S, self.K, self.d = groups, metric, M, T, K, d
        sizes = torch.tensor(entries)
        self.parts: list[tuple[Tensor, PreparedCodebooks]] = []
        for size in sorted(set(entries)):
            tokens = (sizes == size).nonzero().flatten().to(groups.device)
            self.parts.append((tokens, PreparedCodebooks(groups[:, tokens, :size].contiguous(), metric)))

    @property
    def reach(self) -> Tensor:
        reach = torch.empty(self.groups.shape[:2], device=self.groups.device)
        for tokens, part in self.parts:
            reach[:, tokens] = part.reach
        return reach


Prepared = PreparedCodebooks | UnequalCodebooks


def prepare_codebooks(
    groups: Tensor | Sequence[Tensor], metric: Metric, entries: Sequence[int] | None = None
) -> Prepared:
    """Codebooks as the search takes them. entries: how many of the K each token has (T), None where all have K."""
    if entries is None:
        return PreparedCodebooks(groups, metric)
    if not isinstance(groups, Tensor):
        raise ValueError("codebooks of unequal size must be one tensor")
    return UnequalCodebooks(groups, metric, entries)
