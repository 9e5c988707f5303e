"""Anywhere: batched matrix products write a tile of scores, torch finds the largest.

Besides top scores (`TorchBackend`) this file has the search for exact entries inside given groups, `search_blocks`:
with all scores of a token at hand, float64 can decide among the entries that rounding leaves.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search.prepared import Norms, PreparedCodebooks
from stscq.quantization.search.reference import exact_distance
from stscq.quantization.search.scores import (
    IN_FLOAT64,
    Backend,
    Tile,
    TopScores,
    by_codebook,
    by_image,
    clearly_larger,
    error_bound,
    largest_tile,
    rows_per_tile,
)

COLUMNS_FROM = 64
"""From so many channels on, a few latents are multiplied faster as columns than as rows."""
FEW_LATENTS = 16
"""Fewer than so many."""
STRIDE = 32
"""Every so many columns are looked through together for the largest."""


class TorchBackend(Backend):
    """Scores are written to the same small memory again and again, and read again."""

    def __init__(self, z: Tensor, codebooks: PreparedCodebooks, with_entry: bool):
        self.codebooks, self.N, self.with_entry = codebooks, z.shape[1], with_entry
        self.roundings = codebooks.d  # in whatever order products are summed
        K, N = codebooks.K, self.N
        rows = max(1, min(N, rows_per_tile(K)))
        self.tile_size = size = largest_tile(codebooks, max(rows * K, N * codebooks.d), rows, N)
        self.buffer = torch.empty(size.groups * size.codebooks * rows * K, device=z.device, dtype=torch.float32)
        self.z = z.repeat(size.groups, 1, 1)

    def tile_scores(self, tile: Tile, entries: Tensor, norms: Norms) -> TopScores:
        z, K = latents_of(tile, self.z, len(entries)), self.codebooks.K
        out = self.buffer[: len(z) * z.shape[1] * K].view(len(z), z.shape[1], K)
        scores = score(z, entries, norms, self.codebooks.metric, out)
        if not self.with_entry:
            return TopScores(scores.amax(-1), None, None)
        return TopScores(*(each.view(scores.shape[:2]) for each in two_largest(scores.reshape(-1, K))))


def latents_of(tile: Tile, z: Tensor, R: int) -> Tensor:
    """R x n x d for a tile of R codebooks, from latents that stand once for each of its groups."""
    return z[tile.codebooks.start : tile.codebooks.start + R, tile.rows]


def score(z: Tensor, entries: Tensor, norms: Norms, metric: Metric, out: Tensor) -> Tensor:
    """Scores of R x N x d latents against R x K x d entries, in `out`, R x N x K."""
    scores = multiply(z, entries, out)
    if norms.correction is None:
        return scores
    return scores.mul_(norms.correction) if metric == "cosine" else scores.sub_(norms.correction)


def multiply(z: Tensor, entries: Tensor, out: Tensor) -> Tensor:
    """The products alone."""
    R, N, K = out.shape
    if N == 1 and z.shape[-1] >= COLUMNS_FROM:
        return torch.bmm(entries, z.mT, out=out.view(R, K, N)).mT
    if z.shape[-1] >= COLUMNS_FROM and N < FEW_LATENTS:
        return out.copy_(torch.bmm(entries, z.mT).mT)
    return torch.bmm(z, entries.mT, out=out)


def two_largest(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The largest of each row of P x K, where it is, and the next largest (as large, if there are two): P each.

    torch finds values several times faster than places: so first the largest of the columns of each residue modulo
    STRIDE, then the best residue, then the place among its columns.
    """
    P, K = scores.shape
    if K % STRIDE or K < 8 * STRIDE:
        index = scores.argmax(-1, keepdim=True)
        top = scores.gather(-1, index)
        second = scores.scatter_(-1, index, -torch.inf).amax(-1)
        scores.scatter_(-1, index, top)
        return top.squeeze(-1), index.squeeze(-1), second
    residues = scores.view(P, K // STRIDE, STRIDE).amax(1)
    residue = residues.argmax(-1, keepdim=True)
    column = scores.view(P, K // STRIDE, STRIDE).gather(2, residue[:, None].expand(-1, K // STRIDE, 1)).squeeze(-1)
    step = column.argmax(-1, keepdim=True)
    top = column.gather(-1, step).squeeze(-1)
    rest = residues.scatter_(-1, residue, -torch.inf).amax(-1), column.scatter_(-1, step, -torch.inf).amax(-1)
    return top, (step * STRIDE + residue).squeeze(-1), torch.maximum(*rest)


class Block(NamedTuple):
    """Latents (R x N x d) that meet codebooks `first`..`first` + R of one group."""

    group: int
    first: int
    z: Tensor


def nearest_in_groups(z_e: Tensor, codebooks: PreparedCodebooks, group: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest entries in the group of each image (group: B), and by how much their scores lead: B x T each.

    z_e: B x T x d. Images of many groups share a tile of scores: a group of few images costs little more.
    """
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    lead = torch.empty(z_e.shape[:2], dtype=torch.float32, device=z_e.device)
    parts = list(parts_by_group(z_e.shape[1], codebooks.K, group))
    blocks = (
        Block(g, 0 if codebooks.S == 1 else first, by_codebook(z_e[images, first:last], codebooks.S))
        for g, images, first, last in parts
    )
    for (_, images, first, last), found in zip(parts, search_blocks(blocks, codebooks), strict=True):
        B, T = len(images), last - first
        R = 1 if codebooks.S == 1 else T
        index[images, first:last], lead[images, first:last] = (by_image(each.view(R, -1), B, T) for each in found)
    return index, lead


def parts_by_group(T: int, K: int, group: Tensor) -> Iterator[tuple[int, Tensor, int, int]]:
    """A group, numbers of images that use it, and the first and last of some tokens, until all images are done.

    No part has more scores than a tile may, if it has more than one token.
    """
    order = group.argsort(stable=True)
    groups, counts = group[order].unique_consecutive(return_counts=True)
    tokens = max(1, min(T, rows_per_tile(K)))
    images = max(1, rows_per_tile(K) // tokens)
    for g, run in zip(groups.tolist(), order.split(counts.tolist()), strict=True):
        for some in run.split(images):
            for first in range(0, T, tokens):
                yield g, some, first, min(first + tokens, T)


def nearest_of_tokens(z: Tensor, codebooks: PreparedCodebooks, group: Tensor, codebook: Tensor) -> Tensor:
    """P: the nearest entry of each single latent (P x d) in a codebook of its own (group, codebook: P each)."""
    order = group.argsort(stable=True)
    numbers = zip(order.tolist(), group[order].tolist(), codebook[order].tolist(), strict=True)
    blocks = (Block(g, s, z[p, None, None]) for p, g, s in numbers)
    index = torch.empty_like(group)
    index[order] = torch.cat([found for found, _ in search_blocks(blocks, codebooks)])
    return index


def search_blocks(blocks: Iterable[Block], codebooks: PreparedCodebooks) -> Iterator[tuple[Tensor, Tensor]]:
    """For each block the nearest entries, and by how much their scores lead: R N each, codebook by codebook."""
    K, metric = codebooks.K, codebooks.metric
    buffer = torch.empty(0, device=codebooks.device, dtype=torch.float32)
    for some in share_tiles(blocks, rows_per_tile(K)):
        sizes = [block.z.shape[0] * block.z.shape[1] for block in some]
        if len(buffer) < sum(sizes) * K:
            buffer = torch.empty(sum(sizes) * K, device=codebooks.device, dtype=torch.float32)
        scores = buffer[: sum(sizes) * K].view(-1, K)
        for (g, first, latents), out in zip(some, scores.split(sizes), strict=True):
            place = range(g, g + 1), slice(first, first + len(latents))
            norms = codebooks.norms(*place)
            score(latents, codebooks.entries(*place), norms, metric, out.view(*latents.shape[:2], K))
        z = torch.cat([block.z.flatten(0, 1) for block in some])
        group, codebook = numbers_of(some, z.device)
        reach, length = codebooks.reach[group, codebook], torch.linalg.vector_norm(z, dim=-1)
        bound = error_bound(length * reach, reach.square(), codebooks.d, codebooks.d, metric)
        index, lead = first_nearest(scores, bound, z, codebooks, group, codebook)
        yield from zip(index.split(sizes), lead.split(sizes), strict=True)


def numbers_of(blocks: list[Block], device: torch.device) -> tuple[Tensor, Tensor]:
    """The group and the codebook of each latent of the blocks."""
    numbers = [(group, first, z.shape[0] * z.shape[1], z.shape[1]) for group, first, z in blocks]
    group, first, size, N = torch.tensor(numbers, device=device).T
    start = size.cumsum(0) - size
    group, first, start, N = (each.repeat_interleave(size) for each in (group, first, start, N))
    return group, first + (torch.arange(len(group), device=device) - start) // N


def share_tiles(blocks: Iterable[Block], latents: int) -> Iterator[list[Block]]:
    """As many blocks at a time as have so many latents; at least one."""
    some: list[Block] = []
    held = 0
    for block in blocks:
        size = block.z.shape[0] * block.z.shape[1]
        if some and held + size > latents:
            yield some
            some, held = [], 0
        some.append(block)
        held += size
    if some:
        yield some


def first_nearest(
    scores: Tensor, bound: Tensor, z: Tensor, codebooks: PreparedCodebooks, group: Tensor, codebook: Tensor
) -> tuple[Tensor, Tensor]:
    """The entry of each latent that is nearest in float64, the first of equals, and the lead of its score: P each.

    scores: P x K, contiguous; bound: P, how far rounding can have moved them; z: P x d; group, codebook: P.
    """
    top, index, second = two_largest(scores)
    ambiguous = (~clearly_larger(top, second, bound)).nonzero().squeeze(1)
    for some in ambiguous.split(max(1, IN_FLOAT64 // scores.shape[-1])):
        possible = ~clearly_larger(top[some, None], scores[some], bound[some, None])
        index[some] = nearest_in_float64(possible, z[some], codebooks, group[some], codebook[some])
    return index, top - second


def nearest_in_float64(
    possible: Tensor, z: Tensor, codebooks: PreparedCodebooks, group: Tensor, codebook: Tensor
) -> Tensor:
    """For P latents z: the first of the `possible` (P x K) entries that are nearest in float64, P."""
    p, k = possible.nonzero(as_tuple=True)
    step = max(1, IN_FLOAT64 // z.shape[-1])
    distance = torch.cat(
        [
            exact_distance(z[a], codebooks.gather(group[a], codebook[a], b), codebooks.metric)
            for a, b in zip(p.split(step), k.split(step), strict=True)
        ]
    )
    nearest = torch.full(group.shape, torch.inf, dtype=distance.dtype, device=z.device)
    nearest.scatter_reduce_(0, p, distance, "amin")
    tied = distance == nearest[p]
    return torch.full_like(group, codebooks.K).scatter_reduce_(0, p[tied], k[tied], "amin")
