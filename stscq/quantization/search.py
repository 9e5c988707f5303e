"""Nearest entries: over every group (NN) or inside one group an image (CR).

Axes: B images, M groups, T tokens, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels.
The search walks over groups and over slices of the tokens, so it never holds a B x M x T x K array: what it
allocates besides its results is bounded by `BUDGET` scores.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from stscq.backbones.base import Metric

BUDGET = 1 << 21
"""Scores (floats) held at once: 8 MiB in float32."""


class Assignment(NamedTuple):
    """What is written to disk: B group indices, and B x T entry indices inside each image's group."""

    group: Tensor
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here


def normalise(x: Tensor, metric: Metric) -> Tensor:
    """l2-normalised for the cosine metric (TiTok), unchanged for the others."""
    return F.normalize(x, dim=-1) if metric == "cosine" else x


def on_surface(x: Tensor, metric: Metric) -> Tensor:
    """Where entries start: l2-normalised for cosine; for inner on a sphere of radius sqrt(d), since the largest inner
    product is the nearest entry only among entries of equal length; anywhere for euclidean."""
    if metric == "inner":
        return F.normalize(x, dim=-1) * x.shape[-1] ** 0.5
    return normalise(x, metric)


def distances(z: Tensor, entries: Tensor, metric: Metric) -> Tensor:
    """Plain reference: z (..., N, d) against entries (..., K, d) -> (..., N, K).

    cosine: 2 - 2 cos; euclidean: squared distance; inner: minus the inner product.
    """
    z, entries = normalise(z, metric), normalise(entries, metric)
    products = z @ entries.transpose(-1, -2)
    if metric == "inner":
        return -products
    return (z**2).sum(-1, keepdim=True) - 2 * products + (entries**2).sum(-1).unsqueeze(-2)


def search_group(z_e: Tensor, codebook: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
    """Nearest entries of one group.

    z_e: B x T x d; codebook: S x K x d. Returns index (B x T, int64) and the distance to it (B x T).
    """
    B, T, _ = z_e.shape
    S, K, _ = codebook.shape
    shared = S == 1
    z = rearrange(z_e, "B T d -> 1 (B T) d") if shared else rearrange(z_e, "B T d -> T B d")
    index = torch.empty(z.shape[:2], dtype=torch.int64, device=z.device)
    error = torch.empty(z.shape[:2], dtype=z.dtype, device=z.device)
    rows = max(1, min(z.shape[1], BUDGET // K))
    books = max(1, BUDGET // (K * rows))
    for s in range(0, S, books):
        for r in range(0, z.shape[1], rows):
            found = distances(z[s : s + books, r : r + rows], codebook[s : s + books], metric).min(-1)
            error[s : s + books, r : r + rows] = found.values
            index[s : s + books, r : r + rows] = found.indices
    if shared:
        return index.view(B, T), error.view(B, T)
    return index.T.contiguous(), error.T.contiguous()


def group_errors(z_e: Tensor, codebooks: Tensor, metric: Metric) -> Tensor:
    """Mean distance a token to the nearest entry, for every group: B x M. codebooks: M x S x K x d."""
    return torch.stack([search_group(z_e, codebook, metric)[1].mean(1) for codebook in codebooks], dim=1)


@torch.no_grad()
def search_nn(z_e: Tensor, codebooks: Tensor, metric: Metric) -> Assignment:
    """NN: the group with the least total distance (the first of equals), and its nearest entries."""
    B, T, _ = z_e.shape
    best_error = torch.full((B,), torch.inf, dtype=z_e.dtype, device=z_e.device)
    group = torch.zeros(B, dtype=torch.int64, device=z_e.device)
    index = torch.zeros((B, T), dtype=torch.int64, device=z_e.device)
    for i, codebook in enumerate(codebooks):
        candidate, error = search_group(z_e, codebook, metric)
        total = error.sum(1)
        better = total < best_error
        best_error = torch.where(better, total, best_error)
        group = torch.where(better, i, group)
        index = torch.where(better[:, None], candidate, index)
    return Assignment(group, index)


@torch.no_grad()
def search_cr(z_e: Tensor, codebooks: Tensor, group: Tensor, metric: Metric) -> Assignment:
    """CR: nearest entries inside the group that the router chose for each image (group: B). Reads only those groups."""
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    for i in group.unique().tolist():
        chosen = group == i
        index[chosen] = search_group(z_e[chosen], codebooks[i], metric)[0]
    return Assignment(group, index)
