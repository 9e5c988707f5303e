"""What float32 cannot decide, float64 does: entries and groups whose scores lie within the rounding error."""

from collections.abc import Callable

import torch
from torch import Tensor

from stscq.quantization.search.books import Books
from stscq.quantization.search.plain import exact_distance
from stscq.quantization.search.scores import clear, two_largest

PIECE = 1 << 17
"""Channels (or scores) that are settled together: 1 MiB in float64."""

Locate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Numbers of latents -> their groups and codebooks."""


def first_nearest(scores: Tensor, bound: Tensor, z: Tensor, books: Books, locate: Locate) -> tuple[Tensor, Tensor]:
    """The entry of each latent that is nearest in float64, the first of equals, and the lead of its score: P each.

    scores: P x K, contiguous; bound: P, how far rounding can have moved them; z: P x d.
    """
    top, index, second = two_largest(scores)
    doubtful = (~clear(top, second, bound)).nonzero().squeeze(1)
    for some in doubtful.split(max(1, PIECE // scores.shape[-1])):
        possible = ~clear(top[some, None], scores[some], bound[some, None])
        index[some] = _settle(possible, z[some], books, *locate(some))
    return index, top - second


def _settle(possible: Tensor, z: Tensor, books: Books, group: Tensor, book: Tensor) -> Tensor:
    """For P latents z: the first of the `possible` (P x K) entries that are nearest in float64, P."""
    p, k = possible.nonzero(as_tuple=True)
    step = max(1, PIECE // z.shape[-1])
    distance = torch.cat(
        [
            exact_distance(z[a], books.gather(group[a], book[a], b), books.metric)
            for a, b in zip(p.split(step), k.split(step), strict=True)
        ]
    )
    nearest = torch.full(group.shape, torch.inf, dtype=distance.dtype, device=z.device)
    nearest.scatter_reduce_(0, p, distance, "amin")
    tied = distance == nearest[p]
    return torch.full_like(group, books.K).scatter_reduce_(0, p[tied], k[tied], "amin")


def groups_in_doubt(totals: Tensor, doubt: Tensor) -> Tensor:
    """M x B, True for the groups that may be the best of an image, where there is more than one.

    totals: scores summed over an image's tokens (M x B); doubt: how far rounding can have moved them.
    """
    possible = ~(totals + doubt < (totals - doubt).amax(0))  # so that what overflowed is possible too
    return possible & (possible.sum(0) > 1)
