"""Groups by their totals: the top score of each latent in every group, summed over an image's tokens.

A top score takes far less time to find than its entry, so groups are compared by totals before any entry is sought.
Totals are float32; how far rounding can have moved them goes with them.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search import cpu_backend, cuda_backend
from stscq.quantization.search.cpu_backend import CpuBackend
from stscq.quantization.search.cuda_backend import CudaBackend
from stscq.quantization.search.prepared import TINY, PreparedCodebooks
from stscq.quantization.search.scores import Backend, by_codebook, by_image, error_bound, unambiguous
from stscq.quantization.search.torch_backend import TorchBackend
from stscq.quantization.search.unequal import Prepared

SUMMED_AT_ONCE = 16
"""Tokens whose scores are summed, in whatever order; then the sums are."""


class GroupScores(NamedTuple):
    """The top scores of G groups. totals: summed over an image's tokens (cosines for cosine), G x B; bound: how far
    rounding can have moved the totals, G x B.

    index: the entries, G x B x T, where they were asked for; -1 where rounding leaves a choice. lead: by how much each
    top score is larger than the next.
    """

    groups: range
    totals: Tensor
    bound: Tensor
    index: Tensor | None  # type: ignore[assignment]  # shadows tuple.index, as in Assignment
    lead: Tensor | None


def group_totals(z_e: Tensor, codebooks: Prepared) -> tuple[Tensor, Tensor]:
    """Totals of all groups, over tokens of all sizes, and their bounds: M x B each, float64. z_e: B x T x d."""
    parts = [totals_of(sweep(z_e[:, tokens], part, with_entry=False)) for tokens, part in codebooks.parts]
    totals, bounds = zip(*parts, strict=True)
    return torch.stack(totals).sum(0, dtype=torch.float64), torch.stack(bounds).sum(0, dtype=torch.float64)


def sweep(z_e: Tensor, codebooks: PreparedCodebooks, with_entry: bool) -> Iterator[GroupScores]:
    """The top scores of every latent in all groups, some groups at a time. z_e: B x T x d."""
    (B, T, d), metric = z_e.shape, codebooks.metric
    z = by_codebook(z_e, codebooks.S)
    length = torch.linalg.vector_norm(z, dim=-1)
    shrink = length.clamp(min=TINY).reciprocal() if metric == "cosine" else None
    backend = backend_for(z, codebooks, with_entry)
    for groups, found in backend.all_top_scores():
        reach = codebooks.reach[groups.start : groups.stop]
        index, lead = None, None
        if with_entry:
            bound = error_bound(length * reach[..., None], reach.square()[..., None], backend.roundings, d, metric)
            index, lead = (by_image(each, B, T) for each in unambiguous(found, bound))
        top = found.top if shrink is None else found.top.mul_(shrink)
        bound = totals_bound(length, reach, backend.roundings, T, codebooks)
        yield GroupScores(groups, sum_over_tokens(top, T), bound, index, lead)


def backend_for(z: Tensor, codebooks: PreparedCodebooks, with_entry: bool) -> Backend:
    """The fastest there is for these latents (S x N x d) on this device."""
    if cpu_backend.usable(z, codebooks):
        return CpuBackend(z, codebooks, with_entry)
    if not with_entry and cuda_backend.usable(z):
        return CudaBackend(z, codebooks)
    return TorchBackend(z, codebooks, with_entry)


def sum_over_tokens(top: Tensor, T: int) -> Tensor:
    """G x S x N -> G x B: over tokens, a few of them at a time."""
    tokens = top.unflatten(2, (-1, T)).squeeze(1).mT if top.shape[1] == 1 else top
    return torch.stack([some.sum(1) for some in tokens.split(SUMMED_AT_ONCE, 1)]).sum(0)


def totals_bound(length: Tensor, reach: Tensor, roundings: float, T: int, codebooks: PreparedCodebooks) -> Tensor:
    """G x B: how far rounding can have moved sums of scores over T tokens. length: S x N, of latents; reach: G x S."""
    roundings += SUMMED_AT_ONCE + T / SUMMED_AT_ONCE
    if codebooks.metric == "cosine":  # scores over lengths, whose squares are sums of d as well
        length, roundings = torch.ones_like(length), roundings + codebooks.d / 2
    if codebooks.S == 1:
        length = length.view(1, -1, T).sum(2)
    squares = reach.square().sum(1, keepdim=True) * (T / codebooks.S)
    return error_bound(reach @ length, squares, roundings, codebooks.d, codebooks.metric)


def totals_of(parts: Iterable[GroupScores]) -> tuple[Tensor, Tensor]:
    """Totals of all groups and their bounds: M x B each."""
    totals, bound = zip(*((part.totals, part.bound) for part in parts), strict=True)
    return torch.cat(totals), torch.cat(bound)


def errors_of(totals: Tensor, z_e: Tensor, metric: Metric) -> Tensor:
    """Mean distances a token from the totals of scores, B x M each; not for inner products. z_e: B x T x d."""
    mean = totals.double() / z_e.shape[1]
    if metric == "cosine":
        return (2 - 2 * mean).clamp(min=0).float()
    length = torch.linalg.vector_norm(z_e.flatten(1), dim=1, dtype=torch.float64)
    square = length.square() / z_e.shape[1]
    return (square[:, None] - 2 * mean).clamp(min=0).float()
