"""Scores of latents against entries, a tile at a time, in the same small memory again and again.

A score is larger where the distance is smaller: |z| times the cosine, z e - |e|^2 / 2, or z e. Latents stand as
S x N x d: token by token (S = T, N = B), or all together where one codebook serves all tokens (S = 1, N = B T).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from stscq.quantization.search import fused
from stscq.quantization.search.books import Books, Norms

BUDGET = 1 << 20
"""Scores (floats) held at once: 4 MiB, which stay in a CPU's cache between the passes over them."""
LONG = 64
"""From so many channels a few latents are multiplied faster as columns than as rows."""
FEW = 16
MANY = 32
"""From so many latents the largest scores are found faster across columns."""
HELD = 1 << 18
"""Largest scores (floats, 1 MiB) that are kept before they are summed over an image's tokens."""
ROUNDING = 2.0**-24


class Tile(NamedTuple):
    """Groups group..group + groups, codebooks start..start + books of each, rows row..row + rows of their latents."""

    group: int
    groups: int
    start: int
    books: int
    row: int
    rows: int

    def place(self, first: int) -> tuple[slice, slice, slice]:
        """Inside what is held of the groups from `first` on, groups x S x N."""
        group = self.group - first
        return (
            slice(group, group + self.groups),
            slice(self.start, self.start + self.books),
            slice(self.row, self.row + self.rows),
        )


class Scored(NamedTuple):
    """A tile's scores, R x N x K (the next tile overwrites them; from the fused kernel the largest alone, R x N x 1);
    its latents z, R x N x d; its R books' reach."""

    tile: Tile
    scores: Tensor
    z: Tensor
    reach: Tensor


class Scores:
    """Scores of some latents (z: S x N x d, float32) in all groups of `books`, several small groups at a time.

    places: the places of the largest scores will be looked for, and not just their values.
    """

    def __init__(self, z: Tensor, books: Books, places: bool):
        S, N, K, d = books.S, z.shape[1], books.K, books.d
        self.books = books
        self.rows = max(1, min(N, BUDGET // K))
        converted = d if books.dtype != torch.float32 else 1
        self.wide = max(1, min(S, BUDGET // (K * max(self.rows, converted))))
        self.columns = not places and self.rows >= MANY
        self.depth = 1
        if books.together and self.wide == S and self.rows == N:
            self.depth = max(1, min(books.M, BUDGET // (S * max(N * K, N * d, K * converted))))
        self.fused = not places and fused.usable(z)
        if self.fused:  # no scores to hold
            self.rows, self.wide = N, S
            self.depth = max(1, min(books.M, BUDGET // (S * max(N * d, K * converted)))) if books.together else 1
        self.room = torch.empty(0 if self.fused else self.depth * self.wide * self.rows * K, device=z.device)
        self.z = z.repeat(self.depth, 1, 1) if self.depth > 1 else z

    def slabs(self) -> Iterator[range]:
        """All groups, as many at a time as may be held; in whole tiles."""
        step = self.depth * max(1, HELD // max(1, self.depth * self.books.S * self.z.shape[1]))
        for group in range(0, self.books.M, step):
            yield range(group, min(group + step, self.books.M))

    def tiles(self, groups: range) -> Iterator[Scored]:
        """One slab, tile by tile."""
        S, N = self.books.S, self.z.shape[1]
        for group in range(groups.start, groups.stop, self.depth):
            together = min(self.depth, groups.stop - group)
            for start in range(0, S, self.wide):
                for row in range(0, N, self.rows):
                    books, rows = min(self.wide, S - start), min(self.rows, N - row)
                    yield self._score(Tile(group, together, start, books, row, rows))

    def _score(self, tile: Tile) -> Scored:
        z = self.z
        if len(z) != tile.books * tile.groups or z.shape[1] != tile.rows:
            z = z[tile.start : tile.start + tile.books * tile.groups, tile.row : tile.row + tile.rows]
        entries, norms = self.books.entries(*tile[:4]), self.books.norms(*tile[:4])
        if self.fused:
            return Scored(tile, fused.largest(z, entries, norms, self.books.metric)[..., None], z, norms.reach)
        out = self.room[: len(z) * tile.rows * self.books.K].view(len(z), tile.rows, self.books.K)
        return Scored(tile, score(z, entries, norms, self.books.metric, out, self.columns), z, norms.reach)


def score(z: Tensor, entries: Tensor, norms: Norms, metric: str, out: Tensor, columns: bool = False) -> Tensor:
    """Scores of R x N x d latents against R x K x d entries, in the memory of `out`, R x N x K.

    columns: the result's memory is R x K x N.
    """
    scores = multiply(z, entries, out, columns)
    if norms.correction is None:
        return scores
    return scores.mul_(norms.correction) if metric == "cosine" else scores.sub_(norms.correction)


def multiply(z: Tensor, entries: Tensor, out: Tensor, columns: bool) -> Tensor:
    """The products alone."""
    R, N, K = out.shape
    if columns or (N == 1 and z.shape[-1] >= LONG):
        return torch.bmm(entries, z.mT, out=out.view(R, K, N)).mT
    if z.shape[-1] >= LONG and N < FEW:
        return out.copy_(torch.bmm(entries, z.mT).mT)
    return torch.bmm(z, entries.mT, out=out)


def error_bound(length: Tensor, reach: Tensor, d: int, metric: str) -> Tensor:
    """How far rounding can move the score of a latent of this length among entries of this reach."""
    return rounding(d) * (length * reach + (reach.square() if metric == "euclidean" else 0))


def rounding(d: int) -> float:
    """As a share of |z| times the reach.

    d products are summed: at most d roundings, and hardly ever more than 4 sqrt(d) (Higham and Mary, 2019). Norms,
    corrections and sums over tokens add a few, and so do entries that are unit but for rounding.
    """
    return (min(d, 4 * d**0.5) + 40) * ROUNDING


def by_book(z_e: Tensor, S: int) -> Tensor:
    """B x T x d -> S x N x d, float32."""
    pattern = "B T d -> 1 (B T) d" if S == 1 else "B T d -> T B d"
    return rearrange(z_e.float(), pattern).contiguous()


def by_image(values: Tensor, B: int, T: int) -> Tensor:
    """... x S x N -> ... x B x T, the inverse of `by_book`."""
    if values.shape[-2] == 1:
        return values.reshape(*values.shape[:-2], B, T)
    return values.mT
