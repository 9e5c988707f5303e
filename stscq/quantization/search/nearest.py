"""Nearest entries and nearest groups.

To compare groups only the largest score of each token is needed, which takes far less time to find than its place. So
with few channels places are looked up in the chosen group alone. With many, the products outweigh both, and reading the
chosen groups again would cost more: then places are found on the way.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search.books import TINY, Books
from stscq.quantization.search.chosen import entries_of_groups, settled
from stscq.quantization.search.plain import Assignment, exact_distance
from stscq.quantization.search.precision import in_float32
from stscq.quantization.search.settle import PIECE, groups_in_doubt
from stscq.quantization.search.sweep import sweep

Groups = Tensor | Sequence[Tensor] | Books
"""M x S x K x d; or M tensors of S x K x d; or either as Books, which keep norms from one search to the next. Numbers,
as those of latents, are taken as float32."""
ON_THE_WAY = 64
"""From so many channels all places are found at once."""
LATENTS = 1 << 21
"""Channels of latents (floats, 8 MiB) that are searched together; further images come after."""


class Measured(NamedTuple):
    """An assignment of B images, and how clear it was.

    gaps: B x T, the distance to the second nearest entry less that to the nearest, as float32 has it; infinite if there
    is one entry. errors: B x M, see `group_errors`; None where no groups were compared: CR, or
    one group.
    """

    assignment: Assignment
    gaps: Tensor
    errors: Tensor | None


@in_float32()
def search_group(z_e: Tensor, codebook: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
    """Nearest entries of one group.

    z_e: B x T x d; codebook: S x K x d. Returns index (B x T, int64) and the distance to it (B x T, float32).
    """
    books = Books(codebook[None], metric)
    index = search_cr(z_e, books, torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device), metric).index
    return index, distances_to(z_e, books, torch.zeros_like(index[:, 0]), index).float()


def search_cr(z_e: Tensor, codebooks: Groups, group: Tensor, metric: Metric) -> Assignment:
    """CR: nearest entries inside the group that the router chose for each image (group: B). Reads only those groups."""
    return measured_cr(z_e, codebooks, group, metric).assignment


def search_nn(z_e: Tensor, codebooks: Groups, metric: Metric) -> Assignment:
    """NN: the group with the least total distance (the first of equals), and its nearest entries."""
    return measured_nn(z_e, codebooks, metric).assignment


@in_float32()
def measured_cr(z_e: Tensor, codebooks: Groups, group: Tensor, metric: Metric) -> Measured:
    """`search_cr`, and the gaps."""
    books = as_books(z_e, codebooks, metric)
    check_group(group, len(z_e), books.M)
    step = images_together(z_e, books)
    parts = []
    for z, g in zip(z_e.split(step), group.split(step), strict=True):
        index, lead = entries_of_groups(z, books, g)
        parts.append((index, gaps_of(lead, z, metric)))
    index, gaps = (torch.cat(column) for column in zip(*parts, strict=True))
    return Measured(Assignment(group, index), gaps, None)


@in_float32()
def measured_nn(z_e: Tensor, codebooks: Groups, metric: Metric) -> Measured:
    """`search_nn`, the gaps and the errors, in one search."""
    books = as_books(z_e, codebooks, metric)
    if books.M == 1:
        return measured_cr(z_e, books, torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device), metric)
    search = entries_on_the_way if books.d >= ON_THE_WAY else entries_afterwards
    parts = []
    for z in z_e.split(images_together(z_e, books)):
        group, index, lead, totals = search(z, books)
        parts.append((group, index, gaps_of(lead, z, metric), errors_of(totals, z, metric)))
    group, index, gaps, errors = (torch.cat(column) for column in zip(*parts, strict=True))
    return Measured(Assignment(group, index), gaps, errors)


@in_float32()
def group_errors(z_e: Tensor, codebooks: Groups, metric: Metric) -> Tensor:
    """Mean distance a token to the nearest entry, for every group: B x M, float32."""
    books = as_books(z_e, codebooks, metric)
    parts = z_e.split(images_together(z_e, books))
    return torch.cat([errors_of(totals_of(z, books)[0].T, z, metric) for z in parts])


def errors_of(totals: Tensor, z_e: Tensor, metric: Metric) -> Tensor:
    """Mean distances from the sums of the largest scores, B x M each. z_e: B x T x d."""
    mean = totals.double() / z_e.shape[1]
    if metric == "inner":
        return -mean.float()
    if metric == "cosine":
        return (2 - 2 * mean).clamp(min=0).float()
    length = torch.linalg.vector_norm(z_e.flatten(1), dim=1, dtype=torch.float64)
    square = length.square() / z_e.shape[1]
    return (square[:, None] - 2 * mean).clamp(min=0).float()


def gaps_of(lead: Tensor, z_e: Tensor, metric: Metric) -> Tensor:
    """Differences of distances from those of scores, B x T each."""
    if metric == "inner":
        return lead
    if metric == "cosine":
        lead = lead / torch.linalg.vector_norm(z_e.float(), dim=-1).clamp(min=TINY)
    return 2 * lead


def totals_of(z_e: Tensor, books: Books) -> tuple[Tensor, Tensor]:
    """The largest scores, summed over tokens, and how far rounding can have moved the sums: M x B each."""
    slabs = [(slab.totals, slab.doubt) for slab in sweep(z_e, books, places=False)]
    totals, doubt = (torch.cat(column) for column in zip(*slabs, strict=True))
    return totals, doubt


def entries_afterwards(z_e: Tensor, books: Books) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The best groups, then their entries: group (B), index and lead (B x T), totals (B x M)."""
    totals, doubt = totals_of(z_e, books)
    group = best_group(totals, doubt, z_e, books)
    return group, *entries_of_groups(z_e, books, group), totals.T


def entries_on_the_way(z_e: Tensor, books: Books) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same; every group's places are found, and those of the best group so far kept."""
    index = torch.full(z_e.shape[:2], -1, dtype=torch.int64, device=z_e.device)
    lead = torch.zeros(z_e.shape[:2], device=z_e.device, dtype=torch.float32)
    best = torch.full_like(lead[:, 0], -torch.inf)
    first = torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device)
    parts = []
    for slab in sweep(z_e, books, places=True):
        assert slab.places is not None
        assert slab.leads is not None
        for g, total, places, leads in zip(slab.groups, slab.totals, slab.places, slab.leads, strict=True):
            better = total > best
            best, first = torch.where(better, total, best), torch.where(better, g, first)
            index, lead = torch.where(better[:, None], places, index), torch.where(better[:, None], leads, lead)
        parts.append((slab.totals, slab.doubt))
    totals, doubt = (torch.cat(column) for column in zip(*parts, strict=True))
    group = best_group(totals, doubt, z_e, books)
    moved = group != first
    if moved.any():
        index[moved], lead[moved] = entries_of_groups(z_e[moved], books, group[moved])
    return group, *settled(index, lead, z_e, books, group), totals.T


def best_group(totals: Tensor, doubt: Tensor, z_e: Tensor, books: Books) -> Tensor:
    """B: the group of the largest total; by float64 distances where rounding leaves a choice. totals, doubt: M x B."""
    group = totals.argmax(0)
    g, b = groups_in_doubt(totals, doubt).nonzero(as_tuple=True)
    if not len(g):
        return group
    exact = torch.full_like(totals, torch.inf, dtype=torch.float64)
    step = images_together(z_e, books)
    for some, images in zip(g.split(step), b.split(step), strict=True):
        index, _ = entries_of_groups(z_e[images], books, some)
        exact[some, images] = distances_to(z_e[images], books, some, index).sum(1)
    group[b] = exact.argmin(0)[b]
    return group


def distances_to(z_e: Tensor, books: Books, group: Tensor, index: Tensor) -> Tensor:
    """Of B x T latents to the given entries (B x T) of their groups (B): B x T, float64."""
    book = torch.arange(index.shape[1], device=index.device) % books.S
    step = max(1, PIECE // (index.shape[1] * books.d))
    parts = zip(z_e.split(step), group.split(step), index.split(step), strict=True)
    return torch.cat([exact_distance(z, books.gather(g[:, None], book, i), books.metric) for z, g, i in parts])


def as_books(z_e: Tensor, codebooks: Groups, metric: Metric) -> Books:
    """Raises ValueError when codebooks, distance and latents do not fit each other, or latents are no numbers."""
    books = codebooks if isinstance(codebooks, Books) else Books(codebooks, metric)
    if books.metric != metric:
        raise ValueError(f"codebooks prepared for {books.metric} distances cannot be searched by {metric} ones")
    if z_e.ndim != 3 or z_e.shape[2] != books.d or books.S not in (1, z_e.shape[1]):
        raise ValueError(f"latents of shape {tuple(z_e.shape)} do not fit groups of {books.S} x {books.K} x {books.d}")
    if not torch.linalg.vector_norm(z_e.float(), dim=-1).isfinite().all():
        raise ValueError("latents that are no finite numbers, or longer than 1e19, cannot be searched")
    return books


def check_group(group: Tensor, B: int, M: int) -> None:
    if group.shape != (B,) or (B and not 0 <= group.min() <= group.max() < M):
        raise ValueError(f"group must hold a number from 0 to {M - 1} for each of {B} images")


def images_together(z_e: Tensor, books: Books) -> int:
    """So many that latents and sums have a bounded size."""
    return max(1, LATENTS // max(z_e.shape[1] * books.d, 4 * books.M))
