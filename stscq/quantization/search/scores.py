"""What a backend computes: the top score of each latent, a tile at a time; and how far rounding can have moved scores.

A score is larger where the distance is smaller: |z| times the cosine, z e - |e|^2 / 2 (euclidean), or z e (inner).
A tile is some latents against some codebooks. Latents stand as S x N x d, N for each codebook of a group: token by
token (S = T, N = B), or all together where one codebook serves all tokens (S = 1, N = B T).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search.prepared import Norms, PreparedCodebooks

BUDGET = 1 << 20
"""Scores, or converted channels of entries (floats), held at once: 4 MiB, which stay in a CPU's cache."""
HELD = 1 << 18
"""Top scores (floats, 1 MiB) that are kept before they are summed over an image's tokens."""
IN_FLOAT64 = 1 << 17
"""Channels (or scores) that are compared in float64 at once: 1 MiB."""
ROUNDING = 2.0**-24
"""The most that one operation in float32 moves a result, as a share of it."""
MORE = 16
"""Roundings besides those of sums: products with corrections, and entries that are unit but for rounding
(prepared.UNIT)."""


class TopScores(NamedTuple):
    """Three tensors of one shape. top: each latent's largest score; and where asked for, entry: where it was found (any
    of equals), second: the next largest score (as large, if there are two)."""

    top: Tensor
    entry: Tensor | None
    second: Tensor | None


class Tile(NamedTuple):
    """Some groups, some of the S codebooks of each, and some of the N latents (rows) of each codebook."""

    groups: range
    codebooks: slice
    rows: slice

    def within(self, first: int) -> tuple[slice, slice, slice]:
        """Where it lies in a tensor of G x S x N that begins with group `first`."""
        return slice(self.groups.start - first, self.groups.stop - first), self.codebooks, self.rows


class TileSize(NamedTuple):
    """The most groups, codebooks of each, and latents of each codebook."""

    groups: int
    codebooks: int
    rows: int


def rows_per_tile(K: int) -> int:
    """Latents whose scores with K entries fit into BUDGET; at least one."""
    return max(1, BUDGET // K)


def largest_tile(codebooks: PreparedCodebooks, floats: int, rows: int, N: int) -> TileSize:
    """As many codebooks as fit into BUDGET, where a backend holds so many `floats` for each.

    Several groups only where they lie together and are taken whole.
    """
    floats, rows = max(1, floats, codebooks.K * codebooks.converted, codebooks.scratch), max(1, rows)
    wide = max(1, min(codebooks.S, BUDGET // floats))
    if not codebooks.one_tensor or wide < codebooks.S or rows < N:
        return TileSize(1, wide, rows)
    return TileSize(max(1, min(codebooks.M, BUDGET // (codebooks.S * floats))), wide, rows)


def tiles(groups: range, codebooks: PreparedCodebooks, N: int, size: TileSize) -> Iterator[Tile]:
    """All codebooks of some groups, and all their latents."""
    for group in range(groups.start, groups.stop, size.groups):
        for codebook in range(0, codebooks.S, size.codebooks):
            for row in range(0, N, size.rows):
                yield Tile(
                    range(group, min(group + size.groups, groups.stop)),
                    slice(codebook, min(codebook + size.codebooks, codebooks.S)),
                    slice(row, min(row + size.rows, N)),
                )


class Backend(ABC):
    """Computes the top scores of the latents (S x N x d) that it was made for, a tile at a time.

    N: latents of a codebook; with_entry: whether their entries are asked for; tile_size: of the largest tile that it
    takes; roundings: the most that meet in a sum of d products.
    """

    codebooks: PreparedCodebooks
    N: int
    with_entry: bool
    tile_size: TileSize
    roundings: int

    @abstractmethod
    def tile_scores(self, tile: Tile, entries: Tensor, norms: Norms) -> TopScores:
        """R x n each, for the R codebooks (groups x codebooks; entries: R x K x d) and the n rows of a tile."""

    def top_scores(self, groups: range) -> TopScores:
        """G x S x N each, for all codebooks and latents of some groups."""
        top = torch.empty((len(groups), self.codebooks.S, self.N), dtype=torch.float32, device=self.codebooks.device)
        entry = torch.empty_like(top, dtype=torch.int64) if self.with_entry else None
        second = torch.empty_like(top) if self.with_entry else None
        for tile in tiles(groups, self.codebooks, self.N, self.tile_size):
            entries = self.codebooks.entries(tile.groups, tile.codebooks)
            norms = self.codebooks.norms(tile.groups, tile.codebooks)
            at = tile.within(groups.start)
            for values, found in zip((top, entry, second), self.tile_scores(tile, entries, norms), strict=True):
                if values is not None and found is not None:
                    values[at] = found.view(values[at].shape)
        return TopScores(top, entry, second)

    def all_top_scores(self) -> Iterator[tuple[range, TopScores]]:
        """All groups, as many at a time as HELD allows, in whole tiles."""
        at_once = self.tile_size.groups
        step = at_once * max(1, HELD // max(1, at_once * self.codebooks.S * self.N))
        for group in range(0, self.codebooks.M, step):
            groups = range(group, min(group + step, self.codebooks.M))
            yield groups, self.top_scores(groups)


def by_codebook(z_e: Tensor, S: int) -> Tensor:
    """B x T x d -> S x N x d, float32."""
    pattern = "B T d -> 1 (B T) d" if S == 1 else "B T d -> T B d"
    return rearrange(z_e.float().resolve_neg(), pattern).contiguous()


def by_image(values: Tensor, B: int, T: int) -> Tensor:
    """... x S x N -> ... x B x T, the inverse of `by_codebook`."""
    if values.shape[-2] == 1:
        return values.reshape(*values.shape[:-2], B, T)
    return values.mT


@contextmanager
def in_float32() -> Iterator[None]:
    """float32 that is float32, whatever the process allows elsewhere: bounds count roundings of 2^-24.

    Without gradients, autocast, and products in TF32 or bfloat16 (torch.set_float32_matmul_precision).
    """
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.no_grad(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def error_bound(products: Tensor, squares: Tensor, roundings: float, d: int, metric: Metric) -> Tensor:
    """How far rounding can move scores, or sums of them.

    products: |z| times the reach of the codebook; squares: of the reach; summed as the scores are. roundings: the most
    that meet in a sum of d products, and in a sum of scores. Norms may be summed in any order: half of their d
    roundings enters the score, and half squares enter a sum of scores.
    Holds for lengths of 0 or at least 1e-15: below, products lose digits.
    """
    bound = (roundings + MORE) * products
    if metric != "inner":
        bound = bound + ((d + roundings) / 2 + MORE) * (squares if metric == "euclidean" else products)
    return ROUNDING * bound


def clearly_larger(one: Tensor, other: Tensor, bound: Tensor) -> Tensor:
    """Whether the one score is larger than the other however both were rounded. bound: see `error_bound`."""
    return one - other > 2 * bound


def unambiguous(found: TopScores, bound: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of the top scores, -1 where rounding leaves a choice, and by how much the top scores lead."""
    assert found.entry is not None
    assert found.second is not None
    clear = clearly_larger(found.top, found.second, bound)
    return torch.where(clear, found.entry.long(), -1), found.top - found.second
