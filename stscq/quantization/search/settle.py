"""What float32 cannot decide, float64 does: entries and groups whose scores lie within the rounding error."""

from collections.abc import Callable

import torch
from torch import Tensor

from stscq.quantization.search.books import Books
from stscq.quantization.search.plain import exact_distance

PIECE = 1 << 17
"""Channels (or scores) that are settled together: 1 MiB in float64."""
LANES = 32

Locate = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Numbers of latents -> their groups and codebooks."""


def first_nearest(scores: Tensor, bound: Tensor, z: Tensor, books: Books, locate: Locate) -> tuple[Tensor, Tensor]:
    """The entry of each latent that is nearest in float64, the first of equals, and the lead of its score: P each.

    scores: P x K, contiguous; bound: P, how far rounding can have moved them; z: P x d.
    """
    top, index, second = two_largest(scores)
    least = top - 2 * bound
    doubtful = (~(second < least)).nonzero().squeeze(1)
    for some in doubtful.split(max(1, PIECE // scores.shape[-1])):
        index[some] = _settle(~(scores[some] < least[some, None]), z[some], books, *locate(some))
    return index, top - second


def two_largest(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The largest of each row of P x K, a place of it, and the next largest (as large, if there are two): P each.

    torch finds values several times faster than places: so first the largest of each LANES-th column, then the place of
    the lane, then the place in it.
    """
    P, K = scores.shape
    if K % LANES or K < 8 * LANES:
        index = scores.argmax(-1, keepdim=True)
        top = scores.gather(-1, index)
        second = scores.scatter_(-1, index, -torch.inf).amax(-1)
        scores.scatter_(-1, index, top)
        return top.squeeze(-1), index.squeeze(-1), second
    lanes = scores.view(P, K // LANES, LANES).amax(1)
    lane = lanes.argmax(-1, keepdim=True)
    column = scores.view(P, K // LANES, LANES).gather(2, lane[:, None].expand(-1, K // LANES, 1)).squeeze(-1)
    step = column.argmax(-1, keepdim=True)
    top = column.gather(-1, step).squeeze(-1)
    rest = lanes.scatter_(-1, lane, -torch.inf).amax(-1), column.scatter_(-1, step, -torch.inf).amax(-1)
    return top, (step * LANES + lane).squeeze(-1), torch.maximum(*rest)


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
    possible = totals + doubt >= (totals - doubt).amax(0)
    return possible & (possible.sum(0) > 1)
