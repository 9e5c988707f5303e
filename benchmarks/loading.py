"""Does a GPU wait for its batches? `python -m benchmarks.loading --out benchmarks/results`

The GPU is played by a pause, in which the CPU has nothing to do: batches are drawn in between, as on the CPU, or read
ahead by other processes (stscq.training.ahead). What a step takes beyond its pause is what a GPU would wait. Pictures
come from memory, or each LATE seconds late, as over a network: that is played by a pause, too.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
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

SIDE, COUNT, BATCH, PAUSE, LATE, STEPS = 256, 4000, 64, 0.15, 0.002, 30
"""Pixels, pictures (0.8 GB), images a step, seconds that a step computes, and that a late picture takes; steps."""


class Slow:
    """Pictures that come one after the other, each `late` seconds late."""

    def __init__(self, images: np.ndarray, late: float):
        self.images, self.shape, self.late = images, images.shape, late

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        time.sleep(self.late * len(rows))
        return self.images[rows]


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


def rows_of(images: Slow, rounds: int) -> Iterator[dict[str, object]]:
    """All ways in turn, some rounds of them."""
    batches = Batches(images, np.arange(COUNT), BATCH, 1, torch.device("cpu"))  # type: ignore[arg-type]
    pictures = f"{1000 * images.late:.0f} ms late each" if images.late else "from memory"
    for _ in range(rounds):
        yield {"pictures": pictures, "drawn": "in between", "ms that a step waits": waited(batches.read)}
        for readers in (1, 2, 4):
            ahead = ReadAhead(batches, 1, readers)
            drawn = "ahead, by 1 process" if readers == 1 else f"ahead, by {readers}"
            yield {"pictures": pictures, "drawn": drawn, "ms that a step waits": waited(ahead.read)}
            del ahead


def main(out: Path | None = None, rounds: int = 3) -> None:
    """Prints the table; writes OUT/loading.md: of ROUNDS rounds the least of each way."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "images.npy"
        images = np.lib.format.open_memmap(file, "w+", np.uint8, (COUNT, SIDE, SIDE, 3))
        images[:] = np.random.default_rng(0).integers(0, 256, images.shape[1:], np.uint8)
        images.flush()
        kept = np.load(file, mmap_mode="r")
        rows = [row for late in (0.0, LATE) for row in rows_of(Slow(kept, late), rounds)]
    table = pd.DataFrame(rows).groupby(["pictures", "drawn"], sort=False).min()
    of = f"{BATCH} pictures of {SIDE} x {SIDE} a step of {PAUSE} s; {machine()['cpu']}, load {load_average()}."
    text = f"# Waiting for batches\n\n{of}\n\n{table.reset_index().to_markdown(index=False, floatfmt='.1f')}\n"
    print(text)
    if out is not None:
        write_atomically(out / "loading.md", text)


if __name__ == "__main__":
    run(main)
