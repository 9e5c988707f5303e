"""A call whose items are independent, on torch's own threads.

Those idle in a loop for milliseconds after each of torch's operations, and further threads would share the cores with
them: by hand, NN at TiTok-S's sizes took a quarter longer.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from threading import Thread
from typing import Any

import torch

GRAIN = 1 << 26
"""Multiplications (a millisecond or two) that are worth a thread."""
PARTS = 16
"""Of the items for each thread, which takes the next when it has done one: others may be using its core."""


def in_threads(call: Callable[[int, int], None], items: int, work: int) -> None:
    """call(first, last) for parts of the items, at the same time where it gives up Python's lock.

    work: multiplications in all. Raises what a call raises, when all threads have ended. Like torch's own operations it
    hangs in a fork of a process that has used it.
    """
    n = max(1, min(torch.get_num_threads(), items, work // GRAIN))
    if n == 1:
        call(0, items)
        return
    parts = min(items, n * PARTS)
    left = iter(range(parts))
    done: list[int] = []
    raised: list[BaseException] = []

    def take(_: Any = None) -> None:
        try:
            for part in left:
                if raised:
                    return
                call(items * part // parts, items * (part + 1) // parts)
                done.append(part)
        except BaseException as problem:  # an interrupt too: it would be lost in a thread of OpenMP
            raised.append(problem)

    side_by_side(take, n)
    if raised:
        raise raised[0]
    if len(done) < parts:
        raise KeyboardInterrupt  # where `take` did not see it, and ctypes dropped it


def side_by_side(task: Callable[[Any], None], n: int) -> None:
    """n times, this thread being one of them."""
    library = openmp()
    if library is not None:
        library.GOMP_parallel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(task), None, ctypes.c_uint(n), ctypes.c_uint(0))
        return
    threads = [Thread(target=task, args=(None,)) for _ in range(1, n)]
    for thread in threads:
        thread.start()
    task(None)
    for thread in threads:
        thread.join()


@cache
def openmp() -> ctypes.CDLL | None:
    """GNU's OpenMP if it is loaded, on Linux by torch; None where there is another."""
    try:
        return ctypes.CDLL("libgomp.so.1", mode=os.RTLD_NOLOAD)
    except (OSError, AttributeError):
        return None
