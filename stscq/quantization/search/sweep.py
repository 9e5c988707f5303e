"""The largest scores of every latent in one group after another."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.quantization.search.books import TINY, Books
from stscq.quantization.search.largest import way
from stscq.quantization.search.scores import certain, error_bound
from stscq.quantization.search.tiles import by_book, by_image, slabs, tiles

TOGETHER = 16
"""Tokens whose scores are summed, in whatever order; then the sums are."""


class Slab(NamedTuple):
    """totals: the largest scores (cosines for cosine) summed over an image's tokens, groups x B; doubt: how far
    rounding can have moved them.

    places: their entries, groups x B x T, where they were asked for; -1 where rounding leaves a choice. leads: by how
    much each is larger than the next score.
    """

    groups: range
    totals: Tensor
    doubt: Tensor
    places: Tensor | None
    leads: Tensor | None


def sweep(z_e: Tensor, books: Books, places: bool) -> Iterator[Slab]:
    """All groups, a slab at a time. z_e: B x T x d."""
    B, T, _ = z_e.shape
    z = by_book(z_e, books.S)
    length = torch.linalg.vector_norm(z, dim=-1)
    shrink = length.clamp(min=TINY).reciprocal() if books.metric == "cosine" else None
    find = way(z, books, places)
    for slab in slabs(books, z.shape[1], find.size):
        top = torch.empty((len(slab), *z.shape[:2]), device=z.device, dtype=torch.float32)
        lead, found = (torch.empty_like(top), torch.empty_like(top, dtype=torch.int64)) if places else (None, None)
        for tile in tiles(slab, books, z.shape[1], find.size):
            at, largest = tile.place(slab.start), find(tile)
            top[at] = largest.top.view(top[at].shape)
            if found is not None and lead is not None:
                reach = books.reach[tile.group : tile.group + tile.groups, at[1], None]
                bound = error_bound(length[at[1:]] * reach, reach.square(), find.roundings, books.d, books.metric)
                sure, ahead = certain(largest, bound.flatten(0, 1))
                found[at], lead[at] = sure.view(top[at].shape), ahead.view(top[at].shape)
        if shrink is not None:
            top.mul_(shrink)
        reach = books.reach[slab.start : slab.stop]
        doubt = totals_bound(length, reach, find.roundings, T, books)
        by_token = (None if each is None else by_image(each, B, T) for each in (found, lead))
        yield Slab(slab, summed(top, T), doubt, *by_token)


def summed(top: Tensor, T: int) -> Tensor:
    """G x S x N -> G x B: over tokens, a few of them at a time."""
    tokens = top.unflatten(2, (-1, T)).squeeze(1).mT if top.shape[1] == 1 else top
    return torch.stack([some.sum(1) for some in tokens.split(TOGETHER, 1)]).sum(0)


def totals_bound(length: Tensor, reach: Tensor, roundings: float, T: int, books: Books) -> Tensor:
    """G x B: how far rounding can have moved sums of scores over T tokens. length: S x N, of latents; reach: G x S."""
    roundings += TOGETHER + T / TOGETHER
    if books.metric == "cosine":  # scores over lengths, whose squares are sums of d as well
        length, roundings = torch.ones_like(length), roundings + books.d / 2
    if books.S == 1:
        length = length.view(1, -1, T).sum(2)
    squares = reach.square().sum(1, keepdim=True) * (T / books.S)
    return error_bound(reach @ length, squares, roundings, books.d, books.metric)
