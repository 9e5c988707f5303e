"""Nearest entries and nearest groups.

To compare groups only the largest score of each token is needed, which takes far less time to find than its place. So
with few channels places are looked up in the chosen group alone. With many, the products outweigh both, and reading the
chosen groups again would cost more: then places are found on the way.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search.books import TINY, Books
from stscq.quantization.search.chosen import entries_of_groups, entry_of_each
from stscq.quantization.search.plain import Assignment, exact_distance
from stscq.quantization.search.settle import PIECE, groups_in_doubt, two_largest
from stscq.quantization.search.tiles import LONG, Scored, Scores, by_book, by_image, error_bound, rounding

Groups = Tensor | Sequence[Tensor] | Books
"""M x S x K x d; or M tensors of S x K x d; or either as Books, which keep norms from one search to the next."""
LATENTS = 1 << 21
"""Channels of latents (floats, 8 MiB) that are searched together; further images come after."""


@torch.no_grad()
def search_group(z_e: Tensor, codebook: Tensor, metric: Metric) -> tuple[Tensor, Tensor]:
    """Nearest entries of one group.

    z_e: B x T x d; codebook: S x K x d. Returns index (B x T, int64) and the distance to it (B x T, float32).
    """
    books = Books(codebook[None], metric)
    index = search_cr(z_e, books, torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device), metric).index
    return index, distances_to(z_e, books, torch.zeros_like(index[:, 0]), index).float()


@torch.no_grad()
def search_cr(z_e: Tensor, codebooks: Groups, group: Tensor, metric: Metric) -> Assignment:
    """CR: nearest entries inside the group that the router chose for each image (group: B). Reads only those groups."""
    books = as_books(codebooks, metric)
    step = images_together(z_e, books)
    parts = zip(z_e.split(step), group.split(step), strict=True)
    return Assignment(group, torch.cat([entries_of_groups(z, books, g) for z, g in parts]))


@torch.no_grad()
def search_nn(z_e: Tensor, codebooks: Groups, metric: Metric) -> Assignment:
    """NN: the group with the least total distance (the first of equals), and its nearest entries."""
    books = as_books(codebooks, metric)
    if books.M == 1:
        return search_cr(z_e, books, torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device), metric)
    if books.d >= LONG:
        parts = [groups_and_entries(z, books) for z in z_e.split(images_together(z_e, books))]
        return Assignment(torch.cat([part.group for part in parts]), torch.cat([part.index for part in parts]))
    return search_cr(z_e, books, in_pieces(partial(nearest_group, books=books), z_e, books), metric)


@torch.no_grad()
def group_errors(z_e: Tensor, codebooks: Groups, metric: Metric) -> Tensor:
    """Mean distance a token to the nearest entry, for every group: B x M, float32."""
    books = as_books(codebooks, metric)

    def errors(z: Tensor) -> Tensor:
        mean = torch.cat([slab.totals for slab in sweep(z, books, places=False)]).double().T / z.shape[1]
        if metric == "inner":
            return -mean.float()
        square = z.double().square().sum((1, 2)) / z.shape[1] if metric == "euclidean" else 2 * mean.new_ones(len(z))
        return (square[:, None] - 2 * mean).clamp(min=0).float()

    return in_pieces(errors, z_e, books)


class Slab(NamedTuple):
    """totals: the largest scores (cosines for cosine) summed over an image's tokens, groups x B.

    places: their entries, groups x B x T, where they were asked for; -1 where rounding leaves a choice.
    """

    groups: range
    totals: Tensor
    places: Tensor | None


def sweep(z_e: Tensor, books: Books, places: bool) -> Iterator[Slab]:
    """All groups, a slab at a time."""
    B, T, _ = z_e.shape
    z = by_book(z_e, books.S)
    length = torch.linalg.vector_norm(z, dim=-1)
    scores = Scores(z, books, places)
    shrink = length.clamp(min=TINY).reciprocal() if books.metric == "cosine" else None
    for slab in scores.slabs():
        top = torch.empty((len(slab), *z.shape[:2]), device=z.device)
        found = torch.empty_like(top, dtype=torch.int64) if places else None
        for scored in scores.tiles(slab):
            place = scored.tile.place(slab.start)
            if found is None:
                top[place] = scored.scores.amax(-1).view(top[place].shape)
            else:
                top[place], found[place] = nearest_of_tile(scored, length, books)
        if shrink is not None:
            top.mul_(shrink)
        totals = top.view(len(slab), B, T).sum(-1) if books.S == 1 else top.sum(1)
        yield Slab(slab, totals, None if found is None else by_image(found, B, T))


def nearest_of_tile(scored: Scored, length: Tensor, books: Books) -> tuple[Tensor, Tensor]:
    """The largest scores and their entries (-1 where rounding leaves a choice), groups x books x rows each."""
    tile, scores, _, reach = scored
    top, index, second = two_largest(scores.view(-1, books.K))
    lengths = length[tile.place(tile.group)[1:]].repeat(tile.groups, 1)
    bound = error_bound(lengths, reach[:, None], books.d, books.metric).flatten()
    index[second >= top - 2 * bound] = -1
    shape = tile.groups, tile.books, tile.rows
    return top.view(shape), index.view(shape)


def groups_and_entries(z_e: Tensor, books: Books) -> Assignment:
    """Every group's places are found, and those of the best group so far kept."""
    kept = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    best = torch.full((len(z_e),), -torch.inf, device=z_e.device)
    first = torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device)
    totals = []
    for slab in sweep(z_e, books, places=True):
        assert slab.places is not None
        for g, total, places in zip(slab.groups, slab.totals, slab.places, strict=True):
            better = total > best
            best, first = torch.where(better, total, best), torch.where(better, g, first)
            kept = torch.where(better[:, None], places, kept)
        totals.append(slab.totals)
    group = best_group(torch.cat(totals), z_e, books)
    moved = group != first
    if moved.any():
        kept[moved] = search_cr(z_e[moved], books, group[moved], books.metric).index
    image, token = (kept < 0).nonzero(as_tuple=True)
    kept[image, token] = entry_of_each(z_e[image, token].float(), books, group[image], token % books.S)
    return Assignment(group, kept)


def nearest_group(z_e: Tensor, books: Books) -> Tensor:
    """B: the group with the least total distance."""
    return best_group(torch.cat([slab.totals for slab in sweep(z_e, books, places=False)]), z_e, books)


def best_group(totals: Tensor, z_e: Tensor, books: Books) -> Tensor:
    """B: the group of the largest total (M x B); by float64 distances where rounding leaves a choice."""
    group = totals.argmax(0)
    g, b = groups_in_doubt(totals, totals_bound(z_e, books)).nonzero(as_tuple=True)
    if not len(g):
        return group
    exact = torch.full_like(totals, torch.inf, dtype=torch.float64)
    step = images_together(z_e, books)
    for some, images in zip(g.split(step), b.split(step), strict=True):
        index = entries_of_groups(z_e[images], books, some)
        exact[some, images] = distances_to(z_e[images], books, some, index).sum(1)
    group[b] = exact.argmin(0)[b]
    return group


def totals_bound(z_e: Tensor, books: Books) -> Tensor:
    """M x B: how far rounding can have moved a total."""
    length = torch.linalg.vector_norm(z_e.float(), dim=-1)
    if books.metric == "cosine":
        length = torch.ones_like(length)
    reach = books.reach.expand(books.M, length.shape[1])
    own = reach.square().sum(1, keepdim=True) if books.metric == "euclidean" else 0
    return rounding(books.d) * (reach @ length.T + own)


def distances_to(z_e: Tensor, books: Books, group: Tensor, index: Tensor) -> Tensor:
    """Of B x T latents to the given entries (B x T) of their groups (B): B x T, float64."""
    book = torch.arange(index.shape[1], device=index.device) % books.S
    step = max(1, PIECE // (index.shape[1] * books.d))
    parts = zip(z_e.split(step), group.split(step), index.split(step), strict=True)
    return torch.cat([exact_distance(z, books.gather(g[:, None], book, i), books.metric) for z, g, i in parts])


def as_books(codebooks: Groups, metric: Metric) -> Books:
    if not isinstance(codebooks, Books):
        return Books(codebooks, metric)
    if codebooks.metric != metric:
        raise ValueError(f"codebooks prepared for {codebooks.metric} distances cannot be searched by {metric} ones")
    return codebooks


def images_together(z_e: Tensor, books: Books) -> int:
    """So many that latents and sums have a bounded size."""
    return max(1, LATENTS // max(z_e.shape[1] * books.d, 4 * books.M))


def in_pieces(function: Callable[[Tensor], Tensor], z_e: Tensor, books: Books) -> Tensor:
    return torch.cat([function(z) for z in z_e.split(images_together(z_e, books))])
