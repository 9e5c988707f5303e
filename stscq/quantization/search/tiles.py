"""Scores of latents against entries, a tile at a time, in the same small memory again and again.

A score is larger where the distance is smaller: |z| times the cosine, z e - |e|^2 / 2, or z e. Latents stand as
S x N x d: token by token (S = T, N = B), or all together where one codebook serves all tokens (S = 1, N = B T).
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.quantization.search.books import Books

BUDGET = 1 << 20
"""Scores (floats) held at once: 4 MiB, which stay in a CPU's cache between the passes over them."""
LONG = 64
"""From so many channels a few latents are multiplied faster as columns than as rows."""
FEW = 16
MANY = 32
"""From so many latents the largest scores are found faster across columns."""
ROUNDING = 2.0**-24


class Tile(NamedTuple):
    """Groups group..group + groups, codebooks start..start + books of each, rows row..row + rows of their latents."""

    group: int
    groups: int
    start: int
    books: int
    row: int
    rows: int

    def place(self) -> tuple[slice, slice]:
        """Inside the S x N latents of one group."""
        return slice(self.start, self.start + self.books), slice(self.row, self.row + self.rows)


class Scored(NamedTuple):
    """Of a tile with R codebooks and N latents each.

    entries: R x K x d; z: R x N x d; length: R x N, |z|; scores: R x N x K (the next tile overwrites them); bound:
    R x N, how far rounding can have moved a score.
    """

    tile: Tile
    entries: Tensor
    z: Tensor
    length: Tensor
    scores: Tensor
    bound: Tensor


class Scores:
    """Scores of some latents (z: S x N x d, float32) in the groups of `books`, one or `several` at a time.

    places: the places of the largest scores will be looked for, and not just their values.
    """

    def __init__(self, z: Tensor, books: Books, several: bool, places: bool):
        S, N, K, d = books.S, z.shape[1], books.K, books.d
        self.books = books
        self.rows = max(1, min(N, BUDGET // K))
        converted = books.dtype != torch.float32
        self.wide = max(1, min(S, BUDGET // (K * max(self.rows, d if converted else 1))))
        self.columns = not places and self.rows >= MANY
        self.depth = 1
        if several and books.together and self.wide == S and self.rows == N:
            self.depth = max(1, min(books.M, BUDGET // (S * max(N * K, N * d, K * d if converted else 1))))
        size = self.depth * self.wide * self.rows * K
        self.room = torch.empty(size, device=z.device)
        self.turned = torch.empty(size if d >= LONG and 1 < self.rows < FEW else 0, device=z.device)
        self.z = z.repeat(self.depth, 1, 1) if self.depth > 1 else z
        self.length = torch.linalg.vector_norm(self.z, dim=-1)
        self.share = error_bound(d)

    def slabs(self) -> Iterator[range]:
        """All groups, as many at a time as one tile can hold."""
        for group in range(0, self.books.M, self.depth):
            yield range(group, min(group + self.depth, self.books.M))

    def tiles(self, groups: range) -> Iterator[Scored]:
        """One slab of groups (or a single group), tile by tile."""
        for start in range(0, self.books.S, self.wide):
            for row in range(0, self.z.shape[1], self.rows):
                yield self._score(
                    Tile(
                        groups.start, len(groups), start, min(self.wide, self.books.S - start),
                        row, min(self.rows, self.z.shape[1] - row),
                    )
                )  # fmt: skip

    def _score(self, tile: Tile) -> Scored:
        at = slice(tile.start, tile.start + tile.books * tile.groups), slice(tile.row, tile.row + tile.rows)
        z, length = self.z[at], self.length[at]
        entries = self.books.entries(*tile[:4])
        correction, reach = self.books.norms(*tile[:4])
        scores = self._multiply(z, entries)
        bound = length * (self.share * reach)[:, None]
        if correction is not None and self.books.metric == "cosine":
            scores.mul_(correction)
        elif correction is not None:
            scores.sub_(correction)
            bound = bound + (self.share * reach.square())[:, None]
        return Scored(tile, entries, z, length, scores, bound)

    def _multiply(self, z: Tensor, entries: Tensor) -> Tensor:
        """R x N x d times R x K x d -> R x N x K."""
        (R, N, d), K = z.shape, entries.shape[1]
        out = self.room[: R * N * K].view(R, N, K)
        if self.columns:
            return torch.bmm(entries, z.mT, out=out.view(R, K, N)).mT
        if d < LONG or N >= FEW:
            return torch.bmm(z, entries.mT, out=out)
        if N == 1:
            torch.bmm(entries, z.mT, out=out.view(R, K, 1))
            return out
        return out.copy_(torch.bmm(entries, z.mT, out=self.turned[: R * N * K].view(R, K, N)).mT)


def error_bound(d: int) -> float:
    """Largest rounding error of a score, as a share of |z| times the reach of the entries.

    d products are summed: at most d roundings, and hardly ever more than 4 sqrt(d) (Higham and Mary, 2019). Norms and
    corrections add a few, and so do entries that are unit but for rounding.
    """
    return (min(d, 4 * d**0.5) + 20) * ROUNDING
