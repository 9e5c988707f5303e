"""Worker processes that end with the process that started them, however it ends."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of spawned processes (a fork of a process that computes may hang).

    A killed parent would leave them waiting for work for ever: each has a thread that waits for its end.
    """
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=follow_parent)


def follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a worker
    threading.Thread(target=end_with, args=(parent.sentinel,), daemon=True).start()


def end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
