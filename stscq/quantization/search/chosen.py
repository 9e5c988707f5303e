"""Nearest entries inside one group an image. Images of many groups share a tile: a group of few costs no overhead."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.quantization.search import chosen_cpu, tiles
from stscq.quantization.search.books import Books
from stscq.quantization.search.scores import error_bound, score
from stscq.quantization.search.settle import first_nearest
from stscq.quantization.search.tiles import by_book, by_image

MANY = 8
"""From one token in so many in doubt an image is searched again."""


class Block(NamedTuple):
    """Tokens first..last of some images (their numbers) that use the same group."""

    group: int
    images: Tensor
    first: int
    last: int


def entries_of_groups(z_e: Tensor, books: Books, group: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest entries in the group of each image (group: B), and by how much their scores lead: B x T each.

    z_e: B x T x d. Groups that lie apart are taken one after another: they may have to be read.
    """
    if books.together:
        return entries_at_once(z_e, books, group)
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    lead = torch.empty(z_e.shape[:2], device=z_e.device, dtype=torch.float32)
    for g in group.unique():
        here = group == g
        index[here], lead[here] = entries_at_once(z_e[here], books, group[here])
    return index, lead


def entries_at_once(z_e: Tensor, books: Books, group: Tensor) -> tuple[Tensor, Tensor]:
    """The same in the fastest way."""
    if not chosen_cpu.usable(z_e, books):
        return entries_by_tiles(z_e, books, group)
    index, lead = chosen_cpu.entries_of_groups(z_e, books, group)
    return settled(index, lead, z_e, books, group)


def settled(index: Tensor, lead: Tensor, z_e: Tensor, books: Books, group: Tensor) -> tuple[Tensor, Tensor]:
    """With the nearest entries where there are none yet (-1). index, lead: B x T; group: B.

    An image with many of them (codebooks with copies) is searched again as a whole, others token by token.
    """
    many = (index < 0).sum(1) > index.shape[1] // MANY
    if many.any():
        index[many], lead[many] = entries_by_tiles(z_e[many], books, group[many])
    image, token = (index < 0).nonzero(as_tuple=True)
    if len(image):
        index[image, token] = entry_of_each(z_e[image, token].float(), books, group[image], token % books.S)
    return index, lead


def entries_by_tiles(z_e: Tensor, books: Books, group: Tensor) -> tuple[Tensor, Tensor]:
    """The same by torch, from tiles of scores."""
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    lead = torch.empty(z_e.shape[:2], device=z_e.device, dtype=torch.float32)
    together: list[Block] = []
    rows = 0
    room = torch.empty(0, device=z_e.device, dtype=torch.float32)
    for block in blocks(z_e.shape[1], books.K, group):
        size = len(block.images) * (block.last - block.first)
        if rows + size > tiles.BUDGET // books.K and together:
            room = search_blocks(z_e, books, together, index, lead, room)
            together, rows = [], 0
        together.append(block)
        rows += size
    if together:
        search_blocks(z_e, books, together, index, lead, room)
    return index, lead


def blocks(T: int, K: int, group: Tensor) -> Iterator[Block]:
    """All images, group by group; no block has more scores than a tile may, if it has more than one token."""
    order = group.argsort(stable=True)
    groups, counts = group[order].unique_consecutive(return_counts=True)
    tokens = max(1, min(T, tiles.BUDGET // K))
    images = max(1, tiles.BUDGET // (K * tokens))
    for g, run in zip(groups.tolist(), order.split(counts.tolist()), strict=True):
        for some in run.split(images):
            for first in range(0, T, tokens):
                yield Block(g, some, first, min(first + tokens, T))


def search_blocks(
    z_e: Tensor, books: Books, together: list[Block], index: Tensor, lead: Tensor, room: Tensor
) -> Tensor:
    """Writes the nearest entries into `index`, and their leads; returns the memory of the scores, for the next time."""
    parts = [by_book(z_e[block.images, block.first : block.last], books.S) for block in together]
    sizes = [part.shape[0] * part.shape[1] for part in parts]
    if len(room) < sum(sizes) * books.K:
        room = torch.empty(sum(sizes) * books.K, device=z_e.device, dtype=torch.float32)
    scores = room[: sum(sizes) * books.K].view(-1, books.K)
    reaches = []
    for block, z, out in zip(together, parts, scores.split(sizes), strict=True):
        place = (block.group, 1, 0, 1) if books.S == 1 else (block.group, 1, block.first, len(z))
        norms = books.norms(*place)
        written = out.view(*z.shape[:2], books.K)
        score(z, books.entries(*place), norms, books.metric, written)
        reaches.append(norms.reach.repeat_interleave(z.shape[1]))
    z = torch.cat([part.flatten(0, 1) for part in parts])
    reach, length = torch.cat(reaches), torch.linalg.vector_norm(z, dim=-1)
    bound = error_bound(length * reach, reach.square(), books.d, books.d, books.metric)
    group = torch.cat(
        [torch.full((n,), block.group, device=z.device) for block, n in zip(together, sizes, strict=True)]
    )
    book = torch.cat([number_of(block, part, books.S) for block, part in zip(together, parts, strict=True)])
    found = first_nearest(scores, bound, z, books, partial(places, group, book))
    for block, part, *columns in zip(together, parts, *(column.split(sizes) for column in found), strict=True):
        shape, tokens = (len(block.images), block.last - block.first), slice(block.first, block.last)
        index[block.images, tokens], lead[block.images, tokens] = (
            by_image(column.view(part.shape[:2]), *shape) for column in columns
        )
    return room


def number_of(block: Block, z: Tensor, S: int) -> Tensor:
    """The codebook of each of a block's S x N latents."""
    book = torch.arange(len(z), device=z.device) + (block.first if S > 1 else 0)
    return book.repeat_interleave(z.shape[1])


def entry_of_each(z: Tensor, books: Books, group: Tensor, book: Tensor) -> Tensor:
    """P: for single latents (P x d), the nearest entry of their own codebooks (group, book: P each)."""
    found = torch.empty_like(group)
    for some in group.argsort(stable=True).split(max(1, tiles.BUDGET // books.K)):
        scores, reach = z.new_empty(len(some), books.K), z.new_empty(len(some))
        for row, (i, g, s) in enumerate(zip(some.tolist(), group[some].tolist(), book[some].tolist(), strict=True)):
            norms = books.norms(g, 1, s, 1)
            score(z[i, None, None], books.entries(g, 1, s, 1), norms, books.metric, scores[row, None, None])
            reach[row] = norms.reach[0]
        length = torch.linalg.vector_norm(z[some], dim=-1)
        bound = error_bound(length * reach, reach.square(), books.d, books.d, books.metric)
        locate = partial(places, group[some], book[some])
        found[some] = first_nearest(scores, bound, z[some], books, locate)[0]
    return found


def places(group: Tensor, book: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    return group[rows], book[rows]
