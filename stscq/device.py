"""Where a job computes: a GPU of its own when there is one, else the CPU; and in which precision.

The workflow starts one process a job, or several that train together (stscq.training.launch). Jobs that run side by
side on a machine with several GPUs must not pile up on the first: each holds a lock file of the GPU that it took, which
the system drops however the process ends.
"""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from filelock import FileLock, Timeout

from stscq import parallel
from stscq.errors import StscqError

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class DeviceError(StscqError):
    """The GPU here cannot be used with the torch here."""


@cache
def own_device() -> torch.device:
    """The CPU where torch sees no CUDA device, else a CUDA device that no other job holds; waits until one is free.

    Of several processes that train together, each has the one of its number: who started them holds these GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu") if parallel.alone() else parallel.device()
    number = take_first(gpu_locks()) if parallel.alone() else parallel.device().index
    check_kernels(torch.cuda.get_device_capability(number), torch.cuda.get_arch_list())
    return torch.device("cuda", number)


def check_kernels(capability: tuple[int, int], kernels: Sequence[str]) -> None:
    """Raises DeviceError where torch has kernels for newer GPUs alone; kernels: as torch names them, sm_75 or so."""
    oldest = min((int(name.removeprefix("sm_").rstrip("af")) for name in kernels if name.startswith("sm_")), default=0)
    major, minor = capability
    if 10 * major + minor < oldest:
        raise DeviceError(
            f"this torch has no kernels for a GPU of compute capability {major}.{minor} (it starts at sm_{oldest}): "
            "make environment TORCH=cuda12 has those from sm_70 on"
        )


def gpu_locks() -> list[FileLock]:
    """Of all GPUs, named for the GPU itself: its number depends on CUDA_VISIBLE_DEVICES."""
    return [lock(f"gpu-{torch.cuda.get_device_properties(n).uuid}") for n in range(torch.cuda.device_count())]


def lock(name: str) -> FileLock:
    return FileLock(Path(tempfile.gettempdir()) / f"stscq-{name}.lock", mode=0o666)


def take_first(locks: list[FileLock], poll_seconds: float = 2.0) -> int:
    """Acquire one of the locks, whichever is free first, and keep it while the process lives. Returns its number."""
    while True:
        for number, lock in enumerate(locks):
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            HELD.append(lock)
            return number
        time.sleep(poll_seconds)


def take_several(locks: list[FileLock], several: int, turn: FileLock, poll_seconds: float = 2.0) -> list[int]:
    """`take_first`, several times; one job at a time (TURN), for two that have half each would wait for ever."""
    free = dict(enumerate(locks))
    with turn:
        for _ in range(several):
            numbers = list(free)
            del free[numbers[take_first([free[number] for number in numbers], poll_seconds)]]
    return sorted(set(range(len(locks))) - set(free))


HELD: list[FileLock] = []
"""A lock that nobody refers to would be dropped."""


def mixed(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Convolutions, matrix products and attention inside run in `precision`; torch keeps the rest in float32."""
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, DTYPES[precision])


@contextmanager
def full_precision() -> Iterator[None]:
    """float32 whatever the caller's program has set: an autocast, another default type, or TF32, in which GPUs round to
    10 bits. Indices and measures must not depend on it."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with (
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            yield
    finally:
        torch.set_default_dtype(default)
