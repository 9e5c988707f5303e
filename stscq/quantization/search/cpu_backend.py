"""On a CPU: top scores by one kernel, whose scores never leave the registers.

torch has no such operation, and we ship no compiled code: LLVM (llvmlite) compiles the kernel (cpu_kernel) when it is
first needed, for the vectors of the machine at hand. A score is summed in one order, whatever the machine, the batch
and the threads.

The kernel takes blocks of latents, d x lanes, a latent a lane, each with the address of the codebook that it meets.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from stscq.quantization.search import cpu_kernel
from stscq.quantization.search.prepared import Norms, PreparedCodebooks
from stscq.quantization.search.scores import Backend, Tile, TopScores, error_bound, largest_tile, unambiguous
from stscq.quantization.search.threads import in_threads

LAID_OUT = 1 << 21
"""Channels of latents, or norms (floats, 8 MiB), that are laid out at once."""


def usable(z: Tensor, codebooks: PreparedCodebooks) -> bool:
    """Whether the kernel can take these latents and codebooks."""
    return z.device.type == codebooks.device.type == "cpu" and cpu_kernel.this_machine() is not None


class CpuBackend(Backend):
    """All groups: latents stand in blocks of lanes, the last one of a codebook filled up with zeros."""

    def __init__(self, z: Tensor, codebooks: PreparedCodebooks, with_entry: bool):
        S, N, d = z.shape
        self.codebooks, self.N, self.with_entry = codebooks, N, with_entry
        lanes, self.roundings = lanes_for(N), roundings(d)
        self.blocks = -(N // -lanes)
        self.tile_size = largest_tile(codebooks, self.blocks * lanes * (3 if with_entry else 1), N, N)
        self.z = z.new_zeros((S * self.blocks, d, lanes))
        rows = rearrange(self.z, "(S b) d lanes -> S b lanes d", S=S)
        whole = N // lanes
        rows[:, :whole] = z[:, : whole * lanes].unflatten(1, (whole, lanes))
        rows[:, whole:, : N % lanes] = z[:, None, whole * lanes :]

    def tile_scores(self, tile: Tile, entries: Tensor, norms: Norms) -> TopScores:
        first, last = tile.codebooks.start * self.blocks, tile.codebooks.stop * self.blocks
        latents = torch.arange(first, last, device="cpu").repeat(len(tile.groups))
        located = addresses(entries, norms).repeat(self.blocks)
        found = run_kernel(self.z, latents, located, self.codebooks.metric, self.with_entry)
        top, entry, second = (None if t is None else t.view(len(entries), -1)[:, tile.rows] for t in found)
        assert top is not None
        return TopScores(top, entry, second)


def nearest_in_groups(z_e: Tensor, codebooks: PreparedCodebooks, group: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest entries in the group of each image (group: B), -1 where rounding leaves a choice, and by how much
    their scores lead: B x T each. One call of the kernel for images of many groups.

    z_e: B x T x d, B > 0; codebooks must be multiplied in place. Latents stand as rows x S x d, a row being an image
    (S = T) or a token of one (S = 1). Rows of a group fill whole blocks of lanes, the last of them with zeros.
    """
    (B, T, d), S = z_e.shape, codebooks.S
    z, row_group = z_e.float().resolve_neg().reshape(-1, S, d), group.repeat_interleave(T // S)
    order = row_group.argsort(stable=True)
    groups, counts = row_group[order].unique_consecutive(return_counts=True)
    lanes = lanes_for(int(counts.max()))
    blocks = -(counts // -lanes)
    idle = blocks * lanes - counts
    lane = torch.arange(len(order), device="cpu") + (idle.cumsum(0) - idle).repeat_interleave(counts)
    block_group = groups.repeat_interleave(blocks)
    index, lead = torch.empty_like(z[..., 0], dtype=torch.int64), torch.empty_like(z[..., 0])
    step = max(1, LAID_OUT // (S * max(lanes * d, codebooks.scratch)))
    for first, some in zip(range(0, len(block_group), step), block_group.split(step), strict=True):
        here = slice(*torch.searchsorted(lane, lane.new_tensor([first, first + step]) * lanes).tolist())
        rows = order[here]
        index[rows], lead[rows] = nearest_in_blocks(z[rows], lane[here] - first * lanes, lanes, some, codebooks)
    return index.view(B, T), lead.view(B, T)


def nearest_in_blocks(
    z: Tensor, lane: Tensor, lanes: int, groups: Tensor, codebooks: PreparedCodebooks
) -> tuple[Tensor, Tensor]:
    """Entries and leads of rows x S x d latents, each in its lane (rows) of the blocks that meet `groups`."""
    padded = z.new_zeros((len(groups) * lanes, *z.shape[1:]))
    padded[lane] = z
    laid_out = rearrange(padded, "(b lanes) S d -> (b S) d lanes", lanes=lanes)
    located = addresses_of_groups(groups, codebooks)
    latents = torch.arange(len(laid_out), device="cpu")
    found = run_kernel(laid_out, latents, located, codebooks.metric, with_entry=True)
    by_row = (rearrange(t, "(b S) lanes -> (b lanes) S", S=codebooks.S)[lane] for t in found if t is not None)
    length, reach = torch.linalg.vector_norm(z, dim=-1), codebooks.reach[groups[lane // lanes]]
    bound = error_bound(length * reach, reach.square(), roundings(codebooks.d), codebooks.d, codebooks.metric)
    return unambiguous(TopScores(*by_row), bound)


class Addresses(NamedTuple):
    """Where n codebooks (K x d, float32) and their corrections (K) lie in memory, which `held` keeps in being."""

    entries: Tensor
    corrections: Tensor | None
    K: int
    d: int
    held: list[Tensor]

    def repeat(self, times: int) -> "Addresses":
        """Each codebook so many times, one after another."""
        corrections = None if self.corrections is None else self.corrections.repeat_interleave(times)
        return self._replace(entries=self.entries.repeat_interleave(times), corrections=corrections)


def addresses(entries: Tensor, norms: Norms) -> Addresses:
    """Where R x K x d entries lie. Raises ValueError for corrections of other codebooks; see `in_memory`."""
    (R, K, d), correction = entries.shape, norms.correction
    entries, number = in_memory(entries), 4 * torch.arange(R, device="cpu")
    at = number * (K * d) + entries.data_ptr()
    if correction is None:
        return Addresses(at, None, K, d, [entries])
    if correction.shape != (R, 1, K):
        raise ValueError(
            f"corrections of shape {tuple(correction.shape)} are not those of {R} codebooks of {K} entries"
        )
    correction = in_memory(correction)
    return Addresses(at, number * K + correction.data_ptr(), K, d, [entries, correction])


def addresses_of_groups(groups: Tensor, codebooks: PreparedCodebooks) -> Addresses:
    """Where all codebooks of each of these groups (b) lie: b S."""
    distinct, number = groups.unique(return_inverse=True)
    every = slice(0, codebooks.S)
    norms = [codebooks.norms(range(g, g + 1), every) for g in distinct.tolist()]
    if any(each.correction is not None for each in norms):  # a correction by 1 is none
        ones = codebooks.reach.new_ones((codebooks.S, 1, codebooks.K))
        norms = [each._replace(correction=ones) if each.correction is None else each for each in norms]
    parts = [addresses(codebooks.groups[g], each) for g, each in zip(distinct.tolist(), norms, strict=True)]
    corrections = [part.corrections for part in parts if part.corrections is not None]
    return parts[0]._replace(
        entries=torch.stack([part.entries for part in parts])[number].flatten(),
        corrections=torch.stack(corrections)[number].flatten() if corrections else None,
        held=[tensor for part in parts for tensor in part.held],
    )


def in_memory(tensor: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """As the kernel reads it: itself if it lies so, else a copy. Raises ValueError for another dtype or device."""
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        raise ValueError(f"{tensor.dtype} on {tensor.device}, where the kernel takes {dtype} on the CPU")
    return tensor.resolve_neg().contiguous()


def roundings(d: int) -> int:
    """The most that meet in a sum of d products: those of its block, and one for each block."""
    return min(d, cpu_kernel.BLOCK) + -(d // -cpu_kernel.BLOCK)


def lanes_for(rows: int) -> int:
    """Lanes of a block, where so many latents meet a codebook: half a vector (some CPUs do a whole one in two steps), a
    whole one, or two."""
    machine = cpu_kernel.this_machine()
    assert machine is not None
    return next((lanes for lanes in (machine.width // 2, machine.width) if rows <= lanes), 2 * machine.width)


def run_kernel(z: Tensor, latents: Tensor, codebooks: Addresses, metric: str, with_entry: bool) -> TopScores:
    """For each latent of n blocks (n x lanes) the top score among the K entries of the block's codebook.

    z: blocks of latents, b x d x lanes (see `lanes_for`), float32; latents: which of them meets each of the n codebooks
    (int64). Raises ValueError when they do not fit.
    """
    machine = cpu_kernel.this_machine()
    assert machine is not None
    (b, d, lanes), n, K = z.shape, len(latents), codebooks.K
    width = min(lanes, machine.width)
    allowed = machine.width // 2, machine.width, 2 * machine.width
    fits = d == codebooks.d and len(codebooks.entries) == n and lanes in allowed
    if not fits or (n and not 0 <= latents.min() <= latents.max() < b):
        raise ValueError(
            f"{b} blocks of {d} channels and {lanes} lanes cannot meet "
            f"{len(codebooks.entries)} codebooks of {codebooks.d}"
        )
    z, latents = in_memory(z), in_memory(latents, torch.int64)
    top = torch.empty((n, lanes), dtype=torch.float32, device="cpu")
    entry = torch.empty_like(top, dtype=torch.int32) if with_entry else None
    second = torch.empty_like(top) if with_entry else None
    tensors = z, latents, codebooks.entries, codebooks.corrections, top, entry, second
    mode = "inner" if codebooks.corrections is None else metric
    kernel = cpu_kernel.compiled(machine._replace(width=width), lanes // width, mode, with_entry)

    def call(first: int, last: int) -> None:
        pointers = [None if tensor is None else tensor.data_ptr() for tensor in tensors]
        kernel(*pointers, first, last, K, d)

    in_threads(call, n, n * lanes * K * d)
    return TopScores(top, entry, second)
