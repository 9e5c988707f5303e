"""Nearest entries inside one group an image, by the kernel for CPUs: one call for images of many groups."""

import torch
from einops import rearrange
from torch import Tensor

from stscq.quantization.search import kernel_cpu
from stscq.quantization.search.books import Books
from stscq.quantization.search.kernel_cpu import Addresses
from stscq.quantization.search.scores import Largest, certain, error_bound

ROOM = 1 << 21
"""Channels of latents, or norms (floats, 8 MiB), that are laid out at once."""


def usable(z_e: Tensor, books: Books) -> bool:
    """Codebooks must lie in memory as they are multiplied."""
    return kernel_cpu.usable(z_e, books) and books.in_place and len(z_e) > 0


def entries_of_groups(z_e: Tensor, books: Books, group: Tensor) -> tuple[Tensor, Tensor]:
    """As in `chosen`, with -1 where rounding leaves a choice.

    Latents stand as rows x S x d, a row being an image (S = T) or a token of one (S = 1). Rows of a group fill whole
    blocks of lanes, the last of them with zeros.
    """
    B, T, d = z_e.shape
    z, owner = z_e.float().resolve_neg().reshape(-1, books.S, d), group.repeat_interleave(T // books.S)
    order = owner.argsort(stable=True)
    groups, counts = owner[order].unique_consecutive(return_counts=True)
    lanes = kernel_cpu.lanes_for(int(counts.max()))
    blocks = -(counts // -lanes)
    idle = blocks * lanes - counts
    lane = torch.arange(len(order), device="cpu") + (idle.cumsum(0) - idle).repeat_interleave(counts)
    owner_of_block = groups.repeat_interleave(blocks)
    index, lead = torch.empty_like(z[..., 0], dtype=torch.int64), torch.empty_like(z[..., 0])
    step = max(1, ROOM // (books.S * max(lanes * d, books.fresh)))
    for first, owners in zip(range(0, len(owner_of_block), step), owner_of_block.split(step), strict=True):
        here = slice(*torch.searchsorted(lane, lane.new_tensor([first, first + step]) * lanes).tolist())
        rows = order[here]
        index[rows], lead[rows] = nearest(z[rows], lane[here] - first * lanes, lanes, owners, books)
    return index.view(B, T), lead.view(B, T)


def nearest(z: Tensor, lane: Tensor, lanes: int, owners: Tensor, books: Books) -> tuple[Tensor, Tensor]:
    """Entries and leads of rows x S x d latents, each in its lane (rows) of the blocks whose groups are `owners`."""
    padded = z.new_zeros((len(owners) * lanes, *z.shape[1:]))
    padded[lane] = z
    laid_out = rearrange(padded, "(b lanes) S d -> (b S) d lanes", lanes=lanes)
    where, reach = addresses(owners, books)
    latents = torch.arange(len(laid_out), device="cpu")
    found = kernel_cpu.largest(laid_out, latents, where, books.metric, places=True)
    by_row = (rearrange(t, "(b S) lanes -> (b lanes) S", S=books.S)[lane] for t in found if t is not None)
    length, reach = torch.linalg.vector_norm(z, dim=-1), reach[lane // lanes]
    bound = error_bound(length * reach, reach.square(), kernel_cpu.roundings(books.d), books.d, books.metric)
    return certain(Largest(*by_row), bound)


def addresses(owners: Tensor, books: Books) -> tuple[Addresses, Tensor]:
    """Of all codebooks of each of these groups (b S), and their reach (b x S)."""
    groups, number = owners.unique(return_inverse=True)
    norms = [books.norms(g, 1, 0, books.S) for g in groups.tolist()]
    ones = books.reach.new_ones((books.S, 1, books.K))
    corrected = any(each.correction is not None for each in norms)
    parts = [
        kernel_cpu.addresses(
            books.groups[g], each._replace(correction=ones) if corrected and each.correction is None else each
        )
        for g, each in zip(groups.tolist(), norms, strict=True)
    ]
    return kernel_cpu.together(parts, number), torch.stack([each.reach for each in norms])[number]
