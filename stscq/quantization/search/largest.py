"""The largest score of each latent in a tile, by the fastest way there is for these latents on this device."""

from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor

from stscq.quantization.search import kernel_cpu, kernel_cuda, tiles
from stscq.quantization.search.books import Books
from stscq.quantization.search.scores import Largest, score, two_largest
from stscq.quantization.search.tiles import Size, Tile, largest_tile


class Way(Protocol):
    """size: of the largest tile that it takes; roundings: the most that meet in a sum of d products.

    Of R codebooks and N latents in a tile, R x N largest scores.
    """

    size: Size
    roundings: int

    def __call__(self, tile: Tile) -> Largest: ...


def way(z: Tensor, books: Books, places: bool) -> Way:
    """For latents z, S x N x d."""
    if kernel_cpu.usable(z, books):
        return ByCpuKernel(z, books, places)
    if not places and kernel_cuda.usable(z):
        return ByCudaKernel(z, books)
    return ByTorch(z, books, places)


class ByTorch:
    """Scores are written to the same small memory again and again, and read again."""

    def __init__(self, z: Tensor, books: Books, places: bool):
        self.books, self.places, K, N = books, places, books.K, z.shape[1]
        self.roundings = books.d  # in whatever order they are summed
        rows = max(1, min(N, tiles.BUDGET // K))
        self.size = largest_tile(books, max(rows * K, N * books.d, K * converted(books), books.fresh), rows, N)
        self.room = torch.empty(self.size.groups * self.size.books * rows * K, device=z.device, dtype=torch.float32)
        self.z = z.repeat(self.size.groups, 1, 1)

    def __call__(self, tile: Tile) -> Largest:
        books = self.books
        z = latents_of(tile, self.z)
        entries, norms = books.entries(*tile[:4]), books.norms(*tile[:4])
        out = self.room[: len(z) * tile.rows * books.K].view(len(z), tile.rows, books.K)
        scores = score(z, entries, norms, books.metric, out)
        if not self.places:
            return Largest(scores.amax(-1), None, None)
        return Largest(*(each.view(scores.shape[:2]) for each in two_largest(scores.reshape(-1, books.K))))


class ByCudaKernel:
    """Latents stand as they are, once for each group of a tile."""

    def __init__(self, z: Tensor, books: Books):
        self.books, N = books, z.shape[1]
        self.roundings = books.d
        self.size = largest_tile(books, max(N * books.d, books.K * converted(books), books.fresh), N, N)
        self.z = z.repeat(self.size.groups, 1, 1)

    def __call__(self, tile: Tile) -> Largest:
        entries, norms = self.books.entries(*tile[:4]), self.books.norms(*tile[:4])
        top = kernel_cuda.largest(latents_of(tile, self.z), entries, norms, self.books.metric)
        return Largest(top, None, None)


class ByCpuKernel:
    """Latents stand in blocks of lanes, the last one of a codebook filled up with zeros."""

    def __init__(self, z: Tensor, books: Books, places: bool):
        self.books, self.places, (S, N, d) = books, places, z.shape
        lanes, self.roundings = kernel_cpu.lanes_for(N), kernel_cpu.roundings(d)
        self.blocks = -(N // -lanes)
        found = self.blocks * lanes * (3 if places else 1)
        self.size = largest_tile(books, max(found, books.K * converted(books), books.fresh), N, N)
        self.z = z.new_zeros((S * self.blocks, d, lanes))
        rows = rearrange(self.z, "(S b) d lanes -> S b lanes d", S=S)
        whole = N // lanes
        rows[:, :whole] = z[:, : whole * lanes].unflatten(1, (whole, lanes))
        rows[:, whole:, : N % lanes] = z[:, None, whole * lanes :]

    def __call__(self, tile: Tile) -> Largest:
        entries, norms = self.books.entries(*tile[:4]), self.books.norms(*tile[:4])
        first, last = tile.start * self.blocks, (tile.start + tile.books) * self.blocks
        where = kernel_cpu.addresses(entries, norms).repeat(self.blocks)
        latents = torch.arange(first, last, device="cpu").repeat(tile.groups)
        found = kernel_cpu.largest(self.z, latents, where, self.books.metric, self.places)
        top, place, second = (None if t is None else t.view(len(entries), -1)[:, : tile.rows] for t in found)
        assert top is not None
        return Largest(top, place, second)


def latents_of(tile: Tile, z: Tensor) -> Tensor:
    """R x N x d, of what stands once for each group of a tile."""
    return z[tile.start : tile.start + tile.books * tile.groups, tile.row : tile.row + tile.rows]


def converted(books: Books) -> int:
    """Floats that an entry takes before it can be multiplied, if it is not read where it lies."""
    return 0 if books.in_place else books.d
