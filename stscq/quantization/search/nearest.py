"""Nearest entries and nearest groups.

To compare groups only the largest score of each token is needed, which takes far less time to find than its place. So
with few channels places are looked up in the chosen group alone. With many, the products outweigh both, and reading the
chosen groups again would cost more: then places are found on the way.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search.books import TINY, Books
from stscq.quantization.search.plain import Assignment, exact_distance
from stscq.quantization.search.settle import PIECE, first_nearest, groups_in_doubt
from stscq.quantization.search.tiles import LONG, Scores, Tile

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
    index = in_pieces(partial(entries_of_group, books=books, group=0), z_e, books)
    return index, distances_to(z_e, codebook, index, metric).float()


@torch.no_grad()
def search_cr(z_e: Tensor, codebooks: Groups, group: Tensor, metric: Metric) -> Assignment:
    """CR: nearest entries inside the group that the router chose for each image (group: B). Reads only those groups."""
    books = as_books(codebooks, metric)
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    for i in group.unique().tolist():
        images = group == i
        index[images] = in_pieces(partial(entries_of_group, books=books, group=i), z_e[images], books)
    return Assignment(group, index)


@torch.no_grad()
def search_nn(z_e: Tensor, codebooks: Groups, metric: Metric) -> Assignment:
    """NN: the group with the least total distance (the first of equals), and its nearest entries."""
    books = as_books(codebooks, metric)
    if books.M > 1 and books.d >= LONG:
        parts = [groups_and_entries(z, books) for z in pieces(z_e, books)]
        return Assignment(torch.cat([part.group for part in parts]), torch.cat([part.index for part in parts]))
    group = torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device)
    if books.M > 1:
        group = in_pieces(lambda z: nearest_group(z, books, summed(sweep(z, books, places=False))), z_e, books)
    return search_cr(z_e, books, group, metric)


@torch.no_grad()
def group_errors(z_e: Tensor, codebooks: Groups, metric: Metric) -> Tensor:
    """Mean distance a token to the nearest entry, for every group: B x M, float32."""
    books = as_books(codebooks, metric)

    def errors(z: Tensor) -> Tensor:
        mean = summed(sweep(z, books, places=False)).score.T / z.shape[1]
        if metric == "inner":
            return -mean.float()
        square = z.double().square().sum((1, 2)) / z.shape[1] if metric == "euclidean" else 2 * mean.new_ones(len(z))
        return (square[:, None] - 2 * mean).clamp(min=0).float()

    return in_pieces(errors, z_e, books)


class Sums(NamedTuple):
    """Largest scores summed over an image's tokens, and how far rounding can have moved the sums: groups x B, float64.

    places: groups x B x T, the entries of the largest scores, where they were asked for.
    """

    groups: range
    score: Tensor
    doubt: Tensor
    places: Tensor | None


def sweep(z_e: Tensor, books: Books, places: bool) -> Iterator[Sums]:
    """All groups, a slab at a time."""
    B, T, _ = z_e.shape
    z = by_book(z_e, books.S)
    scores = Scores(z, books, several=True, places=places)
    for slab in scores.slabs():
        score, doubt = torch.zeros((2, len(slab), B), dtype=torch.float64, device=z.device)
        index = torch.empty((len(slab), *z.shape[:2]), dtype=torch.int64, device=z.device) if places else None
        for scored in scores.tiles(slab):
            tile, bound = scored.tile, scored.bound
            if index is None:
                top = scored.scores.amax(-1)
            else:
                top, found = first_nearest(scored, books.metric)
                index[:, *tile.place()] = found.view(tile.groups, tile.books, tile.rows)
            if books.metric == "cosine":
                length = scored.length.clamp(min=TINY)
                top, bound = top / length, bound / length
            add_to_images(score, top, tile, T if books.S == 1 else 1)
            add_to_images(doubt, bound, tile, T if books.S == 1 else 1)
        yield Sums(slab, score, doubt, None if index is None else by_image(index, B, T))


def summed(slabs: Iterator[Sums]) -> Sums:
    """All slabs as one, without places."""
    every = list(slabs)
    groups = range(every[-1].groups.stop)
    return Sums(groups, torch.cat([s.score for s in every]), torch.cat([s.doubt for s in every]), None)


def add_to_images(sums: Tensor, values: Tensor, tile: Tile, tokens_a_row: int) -> None:
    """Add R x N values of a tile to groups x B sums; a row is an image, or one of `tokens_a_row` tokens of an image."""
    values = values.view(tile.groups, tile.books, tile.rows).sum(1, dtype=sums.dtype)
    if tokens_a_row == 1:
        sums[:, tile.row : tile.row + tile.rows] += values
    else:
        image = torch.arange(tile.row, tile.row + tile.rows, device=sums.device) // tokens_a_row
        sums.index_add_(1, image, values)


def groups_and_entries(z_e: Tensor, books: Books) -> Assignment:
    """Every group's places are found, and those of the best group so far kept."""
    kept = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    best = torch.full((len(z_e),), -torch.inf, dtype=torch.float64, device=z_e.device)
    first = torch.zeros(len(z_e), dtype=torch.int64, device=z_e.device)
    slabs = []
    for sums in sweep(z_e, books, places=True):
        assert sums.places is not None
        for i, g in enumerate(sums.groups):
            better = sums.score[i] > best
            best, first = torch.where(better, sums.score[i], best), torch.where(better, g, first)
            kept = torch.where(better[:, None], sums.places[i], kept)
        slabs.append(sums)
    group = nearest_group(z_e, books, summed(iter(slabs)))
    moved = group != first
    if moved.any():
        kept[moved] = search_cr(z_e[moved], books, group[moved], books.metric).index
    return Assignment(group, kept)


def nearest_group(z_e: Tensor, books: Books, sums: Sums) -> Tensor:
    """B: the group of the largest sum; by float64 distances where rounding leaves a choice."""
    group = sums.score.argmax(0)
    doubtful = groups_in_doubt(sums.score, sums.doubt)
    if doubtful.any():
        exact = torch.full_like(sums.score, torch.inf)
        for g in doubtful.any(1).nonzero().flatten().tolist():
            z = z_e[doubtful[g]]
            index = entries_of_group(z, books, g)
            exact[g, doubtful[g]] = distances_to(z, books.groups[g], index, books.metric).sum(1)
        group = torch.where(doubtful.any(0), exact.argmin(0), group)
    return group


def entries_of_group(z_e: Tensor, books: Books, group: int) -> Tensor:
    """Nearest entries of one group, B x T."""
    z = by_book(z_e, books.S)
    index = torch.empty(z.shape[:2], dtype=torch.int64, device=z.device)
    for scored in Scores(z, books, several=False, places=True).tiles(range(group, group + 1)):
        index[scored.tile.place()] = first_nearest(scored, books.metric)[1]
    return by_image(index, *z_e.shape[:2])


def distances_to(z_e: Tensor, codebook: Tensor, index: Tensor, metric: Metric) -> Tensor:
    """Of B x T latents to the given entries of their codebooks (S x K x d): B x T, float64."""
    book = torch.arange(index.shape[1], device=index.device) % len(codebook)
    images = max(1, PIECE // z_e[0].numel()) if len(z_e) else 1
    parts = zip(z_e.split(images), index.split(images), strict=True)
    return torch.cat([exact_distance(z, codebook[book, i], metric) for z, i in parts])


def as_books(codebooks: Groups, metric: Metric) -> Books:
    if not isinstance(codebooks, Books):
        return Books(codebooks, metric)
    if codebooks.metric != metric:
        raise ValueError(f"codebooks prepared for {codebooks.metric} distances cannot be searched by {metric} ones")
    return codebooks


def by_book(z_e: Tensor, S: int) -> Tensor:
    """B x T x d -> S x N x d, float32."""
    pattern = "B T d -> 1 (B T) d" if S == 1 else "B T d -> T B d"
    return rearrange(z_e.float(), pattern).contiguous()


def by_image(values: Tensor, B: int, T: int) -> Tensor:
    """... x S x N -> ... x B x T, the inverse of `by_book`."""
    if values.shape[-2] == 1:
        return values.reshape(*values.shape[:-2], B, T)
    return values.mT.contiguous()


def pieces(z_e: Tensor, books: Books) -> tuple[Tensor, ...]:
    """Images that are searched together: their latents and their sums have a bounded size."""
    return z_e.split(max(1, LATENTS // max(z_e.shape[1] * books.d, 4 * books.M)))


def in_pieces(function: Callable[[Tensor], Tensor], z_e: Tensor, books: Books) -> Tensor:
    return torch.cat([function(z) for z in pieces(z_e, books)])
