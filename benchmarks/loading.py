"""Does a GPU wait for its batches? `python -m benchmarks.loading --out benchmarks/results`

The GPU is played by a pause, in which the CPU has nothing to do: batches are drawn in between, as on the CPU, or read
ahead by other processes (stscq.training.ahead). What a step takes beyond its pause is what a GPU would wait.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.timing import load_average
from stscq.cli_tools import run
from stscq.files import write_atomically
from stscq.machine import machine
from stscq.training.ahead import ReadAhead
from stscq.training.batches import Batches

SIDE, COUNT, BATCH, PAUSE, STEPS = 256, 4000, 64, 0.15, 30
"""Pixels, pictures (0.8 GB), images a step, seconds that a step computes, steps."""


def waited(draw: Callable[[int, int], object]) -> float:
    """Milliseconds a step beyond the pause: the median."""
    draw(0, 0)
    seconds = []
    for step in range(1, STEPS):
        began = time.monotonic()
        draw(step, 0)
        time.sleep(PAUSE)
        seconds.append(time.monotonic() - began - PAUSE)
    return 1000 * float(np.median(seconds))


def main(out: Path | None = None, rounds: int = 3) -> None:
    """Prints the table; writes OUT/loading.md. All ways in turn, ROUNDS times; the least of each."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "images.npy"
        images = np.lib.format.open_memmap(file, "w+", np.uint8, (COUNT, SIDE, SIDE, 3))
        images[:] = np.random.default_rng(0).integers(0, 256, images.shape[1:], np.uint8)
        images.flush()
        batches = Batches(np.load(file, mmap_mode="r"), np.arange(COUNT), BATCH, 1, torch.device("cpu"))
        read = lambda step, part: batches.read(step, part)  # noqa: E731
        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            found.setdefault("read in between", []).append(waited(read))
            for readers in (1, 2, 4):
                ahead = ReadAhead(batches, 1, readers)
                found.setdefault(f"read ahead by {readers}", []).append(waited(lambda s, p, a=ahead: a.read(s, p)))
                del ahead
    table = pd.DataFrame({"ms that a step waits": {name: min(values) for name, values in found.items()}})
    of = f"{BATCH} pictures of {SIDE} x {SIDE} a step of {PAUSE} s; {machine()['cpu']}, load {load_average()}."
    text = f"# Waiting for batches\n\n{of}\n\n{table.to_markdown(floatfmt='.2f')}\n"
    print(text)
    if out is not None:
        write_atomically(out / "loading.md", text)


if __name__ == "__main__":
    run(main)
