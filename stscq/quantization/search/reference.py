"""The definitions: distances, what is stored, and the search written out in float64.

Axes as in the package: B images, M groups, T tokens, S codebooks a group, K entries, d channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stscq.backbones.base import Metric


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
    """z (..., N, d) against entries (..., K, d) -> (..., N, K), by matrix products in the precision of the arguments.

    cosine: 2 - 2 cos (a vector of zeros is at cos 0); euclidean: squared distance; inner: minus the inner product.
    """
    z, entries = normalise(z, metric), normalise(entries, metric)
    products = z @ entries.transpose(-1, -2)
    if metric == "inner":
        return -products
    if metric == "cosine":
        return 2 - 2 * products
    return (z**2).sum(-1, keepdim=True) - 2 * products + (entries**2).sum(-1).unsqueeze(-2)


def exact_distance(z: Tensor, entries: Tensor, metric: Metric) -> Tensor:
    """The same distance between vectors that belong together (..., d), which broadcast: float64, entry by entry.

    Each pair is summed in the same order wherever it stands, so equal entries have equal distances.
    """
    # Contiguous: sums over other layouts may run in another order.
    z, entries = (normalise(x.double().contiguous(), metric) for x in (z, entries))
    if metric == "euclidean":
        return (z - entries).square().sum(-1)
    products = (z * entries).sum(-1)
    return -products if metric == "inner" else 2 - 2 * products


def reference(z_e: Tensor, codebooks: Sequence[Tensor] | Tensor, metric: Metric) -> tuple[Assignment, Tensor]:
    """NN as defined, with no regard to time or memory: the assignment and every distance (B x M x T x K, float64).

    The first of equal entries and the first of equal groups win. z_e: B x T x d; codebooks: M groups of S x K x d. For
    inner products entries are those of the largest one, and the group is that of the least squared error.
    """
    z = z_e[:, :, None]  # B T 1 d
    every = torch.stack([exact_distance(z, codebook, metric) for codebook in codebooks], dim=1)
    least, index = every.min(-1)
    if metric == "inner":
        squares = torch.stack([exact_distance(z, codebook, "euclidean") for codebook in codebooks], dim=1)
        least = squares.gather(-1, index[..., None])[..., 0]
    group = least.sum(-1).argmin(1)
    return Assignment(group, index[torch.arange(len(group)), group]), every
