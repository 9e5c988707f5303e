"""Scores of latents and entries, the largest of them, and how far rounding can move them.

A score is larger where the distance is smaller: |z| times the cosine, z e - |e|^2 / 2, or z e.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search.books import Norms

LONG = 64
"""From so many channels a few latents are multiplied faster as columns than as rows."""
FEW = 16
LANES = 32
"""Columns that are looked through together for the largest."""
ROUNDING = 2.0**-24
MORE = 16
"""Roundings besides those of sums: products with corrections, and entries that are unit but for rounding
(books.UNIT)."""


class Largest(NamedTuple):
    """Of some latents, all of one shape: the largest score; and where asked for its place (the entry, any of equals),
    and the next largest score (as large, if there are two)."""

    top: Tensor
    place: Tensor | None
    second: Tensor | None


def score(z: Tensor, entries: Tensor, norms: Norms, metric: Metric, out: Tensor) -> Tensor:
    """Scores of R x N x d latents against R x K x d entries, in `out`, R x N x K."""
    scores = multiply(z, entries, out)
    if norms.correction is None:
        return scores
    return scores.mul_(norms.correction) if metric == "cosine" else scores.sub_(norms.correction)


def multiply(z: Tensor, entries: Tensor, out: Tensor) -> Tensor:
    """The products alone."""
    R, N, K = out.shape
    if N == 1 and z.shape[-1] >= LONG:
        return torch.bmm(entries, z.mT, out=out.view(R, K, N)).mT
    if z.shape[-1] >= LONG and N < FEW:
        return out.copy_(torch.bmm(entries, z.mT).mT)
    return torch.bmm(z, entries.mT, out=out)


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


def error_bound(products: Tensor, squares: Tensor, roundings: float, d: int, metric: Metric) -> Tensor:
    """How far rounding can move scores, or sums of them.

    products: |z| times the reach of the codebook; squares: of the reach; summed as the scores are. roundings: the most
    that meet in a sum of d products, and in a sum of scores. Norms may be summed in any order: half of their d
    roundings enters the score, and half squares enter a sum of scores.
    Holds for lengths of 0 or at least 1e-15: below, products lose digits.
    """
    bound = (roundings + MORE) * products
    if metric != "inner":
        bound = bound + ((d + roundings) / 2 + MORE) * (squares if metric == "euclidean" else products)
    return ROUNDING * bound


def clear(larger: Tensor, smaller: Tensor, bound: Tensor) -> Tensor:
    """Whether the one score is larger than the other however both were rounded. bound: see `error_bound`."""
    return larger - smaller > 2 * bound


def certain(largest: Largest, bound: Tensor) -> tuple[Tensor, Tensor]:
    """The places of the largest scores, -1 where rounding leaves a choice, and by how much the scores lead."""
    assert largest.place is not None
    assert largest.second is not None
    sure = clear(largest.top, largest.second, bound)
    return torch.where(sure, largest.place.long(), -1), largest.top - largest.second
