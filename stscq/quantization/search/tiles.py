"""All codebooks, and the latents that meet them, a tile at a time.

Latents stand as S x N x d: token by token (S = T, N = B), or all together where one codebook serves all tokens (S = 1,
N = B T).
"""

from collections.abc import Iterator
from typing import NamedTuple

from einops import rearrange
from torch import Tensor

from stscq.quantization.search.books import Books

BUDGET = 1 << 20
"""Scores, or converted channels of entries (floats), held at once: 4 MiB, which stay in a CPU's cache."""
HELD = 1 << 18
"""Largest scores (floats, 1 MiB) that are kept before they are summed over an image's tokens."""


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


class Size(NamedTuple):
    """Of the largest tile: groups, codebooks of each, latents of each codebook."""

    groups: int
    books: int
    rows: int


def largest_tile(books: Books, floats: int, rows: int, N: int) -> Size:
    """With `floats` held for each codebook. Several groups only where they lie together and are taken whole."""
    floats, rows = max(1, floats), max(1, rows)
    wide = max(1, min(books.S, BUDGET // floats))
    if not books.together or wide < books.S or rows < N:
        return Size(1, wide, rows)
    return Size(max(1, min(books.M, BUDGET // (books.S * floats))), wide, rows)


def slabs(books: Books, N: int, size: Size) -> Iterator[range]:
    """All groups, as many at a time as may be held; in whole tiles."""
    step = size.groups * max(1, HELD // max(1, size.groups * books.S * N))
    for group in range(0, books.M, step):
        yield range(group, min(group + step, books.M))


def tiles(slab: range, books: Books, N: int, size: Size) -> Iterator[Tile]:
    """One slab, tile by tile."""
    for group in range(slab.start, slab.stop, size.groups):
        for start in range(0, books.S, size.books):
            for row in range(0, N, size.rows):
                groups = min(size.groups, slab.stop - group)
                yield Tile(group, groups, start, min(size.books, books.S - start), row, min(size.rows, N - row))


def by_book(z_e: Tensor, S: int) -> Tensor:
    """B x T x d -> S x N x d, float32."""
    pattern = "B T d -> 1 (B T) d" if S == 1 else "B T d -> T B d"
    return rearrange(z_e.float().resolve_neg(), pattern).contiguous()


def by_image(values: Tensor, B: int, T: int) -> Tensor:
    """... x S x N -> ... x B x T, the inverse of `by_book`."""
    if values.shape[-2] == 1:
        return values.reshape(*values.shape[:-2], B, T)
    return values.mT
