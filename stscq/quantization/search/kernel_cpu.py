"""On a CPU: the largest scores by one kernel, whose scores never leave the registers.

torch has no such operation, and we ship no compiled code: LLVM (llvmlite) compiles the kernel when it is first needed,
for the vectors of the machine at hand. A score is summed in one order, whatever the machine, the batch and the threads.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stscq.quantization.search import kernel_llvm
from stscq.quantization.search.books import Books, Norms
from stscq.quantization.search.scores import Largest
from stscq.quantization.search.threads import in_threads


def usable(z: Tensor, books: Books) -> bool:
    """Whether the kernel can take these latents and codebooks."""
    return z.device.type == books.device.type == "cpu" and kernel_llvm.this_machine() is not None


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
    """Of R x K x d entries. Raises ValueError for corrections of other codebooks; see `in_memory`."""
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


def in_memory(tensor: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """As the kernel reads it: itself if it lies so, else a copy. Raises ValueError for another dtype or device."""
    if tensor.dtype != dtype or tensor.device.type != "cpu":
        raise ValueError(f"{tensor.dtype} on {tensor.device}, where the kernel takes {dtype} on the CPU")
    return tensor.resolve_neg().contiguous()


def together(parts: list[Addresses], number: Tensor) -> Addresses:
    """Of several groups of one size, those of the given numbers in their order."""
    entries = torch.stack([part.entries for part in parts])[number].flatten()
    corrections = [part.corrections for part in parts if part.corrections is not None]
    return parts[0]._replace(
        entries=entries,
        corrections=torch.stack(corrections)[number].flatten() if corrections else None,
        held=[tensor for part in parts for tensor in part.held],
    )


def roundings(d: int) -> int:
    """The most that meet in a sum of d products: those of its block, and one for each block."""
    return min(d, kernel_llvm.BLOCK) + -(d // -kernel_llvm.BLOCK)


def lanes_for(rows: int) -> int:
    """Of a block, where so many latents meet a codebook: half a vector (some CPUs do a whole one in two steps), a whole
    one, or two."""
    machine = kernel_llvm.this_machine()
    assert machine is not None
    return next((lanes for lanes in (machine.width // 2, machine.width) if rows <= lanes), 2 * machine.width)


def largest(z: Tensor, latents: Tensor, books: Addresses, metric: str, places: bool) -> Largest:
    """For each latent of n blocks (n x lanes) the largest score among the K entries of the block's codebook.

    z: blocks of latents, b x d x lanes (see `lanes_for`), float32; latents: which of them meets each of the n codebooks
    (int64). Raises ValueError when they do not fit.
    """
    machine = kernel_llvm.this_machine()
    assert machine is not None
    (b, d, lanes), n = z.shape, len(latents)
    width = min(lanes, machine.width)
    fits = d == books.d and len(books.entries) == n and lanes in (machine.width // 2, machine.width, 2 * machine.width)
    if not fits or (n and not 0 <= latents.min() <= latents.max() < b):
        raise ValueError(
            f"{b} blocks of {d} channels and {lanes} lanes cannot meet {len(books.entries)} codebooks of {books.d}"
        )
    z, latents = in_memory(z), in_memory(latents, torch.int64)
    top, place, second = (
        torch.empty((n, lanes), dtype=dtype, device="cpu") if needed else None
        for dtype, needed in ((torch.float32, True), (torch.int32, places), (torch.float32, places))
    )
    assert top is not None
    tables = z, latents, books.entries, books.corrections, top, place, second
    mode = "inner" if books.corrections is None else metric
    kernel = kernel_llvm.compiled(machine._replace(width=width), lanes // width, mode, places)

    def call(first: int, last: int) -> None:
        pointers = [None if table is None else table.data_ptr() for table in tables]
        kernel(*pointers, first, last, books.K, d)

    in_threads(call, n, n * lanes * books.K * d)
    return Largest(top, place, second)
