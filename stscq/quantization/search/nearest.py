"""The search itself, to be read from top to bottom: NN and CR, and what happens where rounding leaves a choice.

NN compares groups by their totals (`group_totals`: top scores, summed over an image's tokens), picks the largest
(`best_group`) and searches that group for entries (`nearest_entries`), as CR does with the given one: a top score
takes far less time to find than its entry. With many channels the products outweigh both, and reading the chosen
groups again would cost more: then entries are found along with the top scores.

Scores are float32. Two that lie closer than rounding can have moved them are ambiguous, and decided in float64: groups
in `best_group`, entries in `entries.resolve`. Codebooks are searched part by part: tokens of one size together, so
codebooks of equal size are one part.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search.entries import (
    distances_to,
    gaps_of,
    nearest_entries,
    nearest_in_groups,
    resolve,
    summed_distances,
)
from stscq.quantization.search.prepared import PreparedCodebooks
from stscq.quantization.search.reference import Assignment
from stscq.quantization.search.scores import in_float32
from stscq.quantization.search.squares import entries_by_squares, mean_squares
from stscq.quantization.search.totals import errors_of, group_totals, sweep, totals_of
from stscq.quantization.search.unequal import Prepared, UnequalCodebooks

AnyCodebooks = Tensor | Sequence[Tensor] | Prepared
"""M x S x K x d; or M tensors of S x K x d; or prepared, which keeps norms from one search to the next. Numbers, as
those of latents, are taken as float32."""
FUSED_FROM = 64
"""From so many channels on, entries are found along with the top scores of all groups."""
LATENTS = 1 << 21
"""Channels of latents (floats, 8 MiB) that are searched together; further images come after."""


class Measured(NamedTuple):
    """An assignment of B images, and how clear it was.

    gaps: B x T, the distance to the second nearest entry less that to the nearest, as float32 has it; infinite if there
    is one entry. errors: B x M, see `group_errors`; None where no groups were compared: CR, or one group.
    """

    assignment: Assignment
    gaps: Tensor
    errors: Tensor | None


def search_nn(z_e: Tensor, codebooks: AnyCodebooks, metric: Metric) -> Assignment:
    """NN: the group with the least total error (the first of equals), and its nearest entries. z_e: B x T x d.

    The error is the distance but for inner products, see `group_errors`.
    """
    return measured_nn(z_e, codebooks, metric).assignment


def search_cr(z_e: Tensor, codebooks: AnyCodebooks, group: Tensor, metric: Metric) -> Assignment:
    """CR: nearest entries inside the group that the router chose for each image (group: B). Reads only those groups."""
    return measured_cr(z_e, codebooks, group, metric).assignment


@in_float32()
def search_group(z_e: Tensor, codebook: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
    """Nearest entries of one group.

    z_e: B x T x d; codebook: S x K x d. Returns index (B x T, int64) and the distance to it (B x T, float32).
    """
    prepared = PreparedCodebooks(codebook[None], metric)
    group = torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device)
    index = search_cr(z_e, prepared, group, metric).index
    return index, distances_to(z_e, prepared, group, index).float()


@in_float32()
def measured_nn(z_e: Tensor, codebooks: AnyCodebooks, metric: Metric) -> Measured:
    """`search_nn`, the gaps and the errors, in one search."""
    prepared = prepare(z_e, codebooks, metric)
    if prepared.M == 1:
        return measured_cr(z_e, prepared, torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device), metric)
    parts = []
    for z in z_e.split(images_at_once(z_e, prepared)):
        if metric == "inner":
            group, index, lead, errors = entries_by_squares(z, prepared)
        elif isinstance(prepared, PreparedCodebooks) and prepared.d >= FUSED_FROM:
            group, index, lead, totals = entries_with_totals(z, prepared)
            errors = errors_of(totals, z, metric)
        else:
            group, index, lead, totals = entries_after_totals(z, prepared)
            errors = errors_of(totals, z, metric)
        parts.append((group, index, gaps_of(lead, z, metric), errors))
    group, index, gaps, errors = (torch.cat(column) for column in zip(*parts, strict=True))
    return Measured(Assignment(group, index), gaps, errors)


@in_float32()
def measured_cr(z_e: Tensor, codebooks: AnyCodebooks, group: Tensor, metric: Metric) -> Measured:
    """`search_cr`, and the gaps."""
    prepared = prepare(z_e, codebooks, metric)
    check_group(group, len(z_e), prepared.M)
    step = images_at_once(z_e, prepared)
    parts = []
    for z, g in zip(z_e.split(step), group.split(step), strict=True):
        index, lead = nearest_entries(z, prepared, g)
        parts.append((index, gaps_of(lead, z, metric)))
    index, gaps = (torch.cat(column) for column in zip(*parts, strict=True))
    return Measured(Assignment(group, index), gaps, None)


@in_float32()
def group_errors(z_e: Tensor, codebooks: AnyCodebooks, metric: Metric) -> Tensor:
    """Mean distance a token to the nearest entry, for every group: B x M, float32.

    For inner products the mean squared distance to the entry of the largest one, see `squares`.
    """
    prepared = prepare(z_e, codebooks, metric)
    if metric == "inner":
        return mean_squares(z_e, prepared)
    parts = z_e.split(images_at_once(z_e, prepared))
    return torch.cat([errors_of(group_totals(z, prepared)[0].T, z, metric) for z in parts])


def entries_after_totals(z_e: Tensor, codebooks: Prepared) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best groups, then their entries: group (B), index and lead (B x T), totals (B x M).

    The lead of an entry is the amount by which its score is larger than the next.
    """
    totals, bound = group_totals(z_e, codebooks)
    group = best_group(totals, bound, z_e, codebooks)
    return group, *nearest_entries(z_e, codebooks, group), totals.T


def entries_with_totals(z_e: Tensor, codebooks: PreparedCodebooks) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same; entries are found in every group, and those of the best group so far kept."""
    index = torch.full(z_e.shape[:2], -1, dtype=torch.int64, device=z_e.device)
    lead = torch.zeros(z_e.shape[:2], device=z_e.device, dtype=torch.float32)
    best = torch.full_like(lead[:, 0], -torch.inf)
    kept = torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device)  # the group whose entries are kept
    parts = []
    for part in sweep(z_e, codebooks, with_entry=True):
        assert part.index is not None
        assert part.lead is not None
        for g, total, entries, leads in zip(part.groups, part.totals, part.index, part.lead, strict=True):
            better = total > best
            best, kept = torch.where(better, total, best), torch.where(better, g, kept)
            index, lead = torch.where(better[:, None], entries, index), torch.where(better[:, None], leads, lead)
        parts.append(part._replace(index=None, lead=None))
    totals, bound = totals_of(parts)
    group = best_group(totals, bound, z_e, codebooks)
    moved = group != kept
    if moved.any():
        index[moved], lead[moved] = nearest_in_groups(z_e[moved], codebooks, group[moved])
    return group, *resolve(index, lead, z_e, codebooks, group), totals.T


def best_group(totals: Tensor, bound: Tensor, z_e: Tensor, codebooks: Prepared) -> Tensor:
    """B: the group of the largest total; by float64 distances where rounding leaves a choice. totals, bound: M x B."""
    group = totals.argmax(0)
    g, b = ambiguous_groups(totals, bound).nonzero(as_tuple=True)
    if not len(g):
        return group
    exact = torch.full_like(totals, torch.inf, dtype=torch.float64)
    step = images_at_once(z_e, codebooks)
    for some, images in zip(g.split(step), b.split(step), strict=True):
        exact[some, images] = exact_totals(z_e[images], codebooks, some)
    group[b] = exact.argmin(0)[b]
    return group


def exact_totals(z_e: Tensor, codebooks: Prepared, group: Tensor) -> Tensor:
    """B: the float64 distances of an image's tokens to their nearest entries in the given group (B), summed."""
    index, _ = nearest_entries(z_e, codebooks, group)
    return summed_distances(z_e, codebooks, group, index, codebooks.metric)


def ambiguous_groups(totals: Tensor, bound: Tensor) -> Tensor:
    """M x B: the groups that may be the best of an image, where there is more than one."""
    possible = ~(totals + bound < (totals - bound).amax(0))  # so that what overflowed is possible too
    return possible & (possible.sum(0) > 1)


def prepare(z_e: Tensor, codebooks: AnyCodebooks, metric: Metric) -> Prepared:
    """Raises ValueError when codebooks, distance and latents do not fit each other, or latents are no numbers."""
    prepared = (
        codebooks
        if isinstance(codebooks, PreparedCodebooks | UnequalCodebooks)
        else PreparedCodebooks(codebooks, metric)
    )
    S, K, d = prepared.S, prepared.K, prepared.d
    if prepared.metric != metric:
        raise ValueError(f"codebooks prepared for {prepared.metric} distances cannot be searched by {metric} ones")
    if z_e.ndim != 3 or z_e.shape[2] != d or S not in (1, z_e.shape[1]):
        raise ValueError(f"latents of shape {tuple(z_e.shape)} do not fit groups of {S} x {K} x {d}")
    if not torch.linalg.vector_norm(z_e.float(), dim=-1).isfinite().all():
        raise ValueError("latents that are no finite numbers, or longer than 1e19, cannot be searched")
    return prepared


def check_group(group: Tensor, B: int, M: int) -> None:
    if group.shape != (B,) or (B and not 0 <= group.min() <= group.max() < M):
        raise ValueError(f"group must hold a number from 0 to {M - 1} for each of {B} images")


def images_at_once(z_e: Tensor, codebooks: Prepared) -> int:
    """So many that latents and sums have a bounded size."""
    return max(1, LATENTS // max(z_e.shape[1] * codebooks.d, 4 * codebooks.M))
