"""On a CPU: the largest scores by one kernel, whose scores never leave the registers.

torch has no such operation, and we ship no compiled code: LLVM (llvmlite) compiles the kernel when it is first needed,
for the vectors of the machine at hand. A score is summed channel by channel, whatever the machine, the batch and the
threads.
"""

from collections.abc import Callable
from threading import Thread
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.quantization.search import kernel_llvm
from stscq.quantization.search.books import Books, Norms

GRAIN = 1 << 26
"""Multiplications (a millisecond or two) that are worth a thread: torch's own threads idle in a loop for as long."""


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
    """Of several groups, those of the given numbers in their order. Raises ValueError when their sizes differ."""
    if len({(len(part.entries), part.K, part.d, part.corrections is None) for part in parts}) > 1:
        raise ValueError("groups of different sizes cannot be searched together")
    entries = torch.stack([part.entries for part in parts])[number].flatten()
    corrections = [part.corrections for part in parts if part.corrections is not None]
    return parts[0]._replace(
        entries=entries,
        corrections=torch.stack(corrections)[number].flatten() if corrections else None,
        held=[tensor for part in parts for tensor in part.held],
    )


class Found(NamedTuple):
    """Of n x lanes latents: the largest score; and where asked for its place, the first of equals (int32), and the next
    largest score (as large, if there are two)."""

    top: Tensor
    place: Tensor | None
    second: Tensor | None


def lanes_for(rows: int) -> int:
    """Of a block, where so many latents meet a codebook: half a vector (some CPUs do a whole one in two steps), a whole
    one, or two."""
    machine = kernel_llvm.this_machine()
    assert machine is not None
    return next((lanes for lanes in (machine.width // 2, machine.width) if rows <= lanes), 2 * machine.width)


def largest(z: Tensor, latents: Tensor, books: Addresses, metric: str, places: bool) -> Found:
    """For each latent of n blocks the largest score among the K entries of the block's codebook.

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
        # Tables and `books` are held here: an interrupt may end the caller while other threads still write.
        pointers = [None if table is None else table.data_ptr() for table in tables]
        kernel(*pointers, first, last, books.K, d)

    in_threads(call, n, n * lanes * books.K * d)
    return Found(top, place, second)


def in_threads(call: Callable[[int, int], None], items: int, work: int) -> None:
    """As many as torch would use. ctypes gives up Python's lock for the time of the call."""
    n = max(1, min(torch.get_num_threads(), items, work // GRAIN))
    threads = [Thread(target=call, args=(items * i // n, items * (i + 1) // n)) for i in range(1, n)]
    for thread in threads:
        thread.start()
    call(0, items // n)
    for thread in threads:
        thread.join()
