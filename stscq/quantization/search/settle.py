"""What float32 cannot decide, float64 does: entries and groups whose scores lie within the rounding error."""

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search.plain import exact_distance
from stscq.quantization.search.tiles import Scored

PIECE = 1 << 17
"""Channels (or scores) that are settled together: 1 MiB in float64."""


def first_nearest(scored: Scored, metric: Metric) -> tuple[Tensor, Tensor]:
    """The largest score of each latent, and the entry that is nearest in float64, the first of equals: R x N each."""
    scores, bound = scored.scores, scored.bound
    index = scores.argmax(-1, keepdim=True)
    top = scores.gather(-1, index).squeeze(-1)
    second = scores.scatter_(-1, index, -torch.inf).amax(-1)
    scores.scatter_(-1, index, top[..., None])
    index = index.squeeze(-1)
    least = top - 2 * bound
    doubtful = (second >= least).nonzero()
    for part in doubtful.split(max(1, PIECE // scores.shape[-1])):
        index[tuple(part.T)] = _settle(scored, part, least, metric)
    return top, index


def _settle(scored: Scored, latents: Tensor, least: Tensor, metric: Metric) -> Tensor:
    """For latents P x 2 (codebook, row): the first of the entries that are nearest in float64, P."""
    r, n = latents.T
    p, k = (scored.scores[r, n] >= least[r, n, None]).nonzero(as_tuple=True)
    parts = zip(p.split(step := max(1, PIECE // scored.z.shape[-1])), k.split(step), strict=True)
    distance = torch.cat([exact_distance(scored.z[r[a], n[a]], scored.entries[r[a], b], metric) for a, b in parts])
    nearest = torch.full(r.shape, torch.inf, dtype=distance.dtype, device=r.device)
    nearest.scatter_reduce_(0, p, distance, "amin")
    tied = distance == nearest[p]
    return torch.full_like(r, scored.scores.shape[-1]).scatter_reduce_(0, p[tied], k[tied], "amin")


def groups_in_doubt(totals: Tensor, doubt: Tensor) -> Tensor:
    """M x B, True for the groups that may be the best of an image, where there is more than one.

    totals: scores summed over an image's tokens (M x B); doubt: how far rounding can have moved them.
    """
    possible = totals + doubt >= (totals - doubt).amax(0)
    return possible & (possible.sum(0) > 1)
