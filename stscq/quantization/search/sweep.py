"""The largest scores of every latent in one group after another."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.quantization.search.books import TINY, Books
from stscq.quantization.search.largest import Largest, way
from stscq.quantization.search.tiles import by_book, by_image, error_bound, slabs, tiles


class Slab(NamedTuple):
    """totals: the largest scores (cosines for cosine) summed over an image's tokens, groups x B.

    places: their entries, groups x B x T, where they were asked for; -1 where rounding leaves a choice. leads: by how
    much each is larger than the next score.
    """

    groups: range
    totals: Tensor
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
        top = torch.empty((len(slab), *z.shape[:2]), device=z.device)
        lead, found = (torch.empty_like(top), torch.empty_like(top, dtype=torch.int64)) if places else (None, None)
        for tile in tiles(slab, books, z.shape[1], find.size):
            at, largest = tile.place(slab.start), find(tile)
            top[at] = largest.top.view(top[at].shape)
            if found is not None and lead is not None:
                sure, ahead = certain(largest, length[at[1:]].repeat(tile.groups, 1), books)
                found[at], lead[at] = sure.view(top[at].shape), ahead.view(top[at].shape)
        if shrink is not None:
            top.mul_(shrink)
        totals = top.view(len(slab), B, T).sum(-1) if books.S == 1 else top.sum(1)
        yield Slab(slab, totals, *(None if each is None else by_image(each, B, T) for each in (found, lead)))


def certain(largest: Largest, length: Tensor, books: Books) -> tuple[Tensor, Tensor]:
    """The places of the largest scores, -1 where rounding leaves a choice, and their leads. length: of the latents."""
    assert largest.place is not None
    assert largest.second is not None
    lead = largest.top - largest.second
    bound = error_bound(length, largest.reach[:, None], books.d, books.metric)
    return torch.where(lead > 2 * bound, largest.place.long(), -1), lead
