"""Does a step of stage 2 pay for groups that its batch does not use? `python -m benchmarks.optimiser`

One step is the lookup of a batch's entries, the codebook loss, its backward pass and the optimiser, at the size of
TiTok-S (T 128, K 256, d 12). The lazy Adam is compared with torch's AdamW on the same codebooks, by turns in one run;
only ratios count, since other jobs may share the machine. The search for the entries is apart.
"""

import statistics
import time
from pathlib import Path

import pandas as pd
import torch

from stscq.cli_tools import run
from stscq.files import write_atomically
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.losses import codebook_loss
from stscq.quantization.search import Assignment
from stscq.training.lazy_adam import large_zeros
from stscq.training.optimiser import Optimiser

T, K, D = 128, 256, 12
GROUPS = (1, 4, 16, 64, 256)


class Step:
    """A training step on M groups, which takes the group and the entries of each image as given."""

    def __init__(self, M: int, batch: int, lazy: bool):
        weight = large_zeros((M, T, K, D), torch.device("cpu")).normal_()  # as stage 2 does
        self.codebooks = Codebooks(weight, "euclidean", sparse=lazy)
        self.optimiser = Optimiser(self.codebooks, lr=1e-3, weight_decay=0.0, precision="fp32")
        self.M, self.batch = M, batch

    def __call__(self) -> float:
        """Seconds."""
        chosen = Assignment(torch.randint(0, self.M, (self.batch,)), torch.randint(0, K, (self.batch, T)))
        z_e = torch.randn(self.batch, T, D)
        began = time.perf_counter()
        self.optimiser.backward(codebook_loss(z_e, self.codebooks.lookup(chosen)))
        self.optimiser.step()
        return time.perf_counter() - began


def main(batch: int = 32, repeats: int = 15, out: Path | None = None) -> None:
    """Prints the table, and writes OUT/optimiser.md."""
    torch.manual_seed(0)
    steps = {(M, lazy): Step(M, batch, lazy) for M in GROUPS for lazy in (True, False)}
    times: dict[tuple[int, bool], list[float]] = {key: [] for key in steps}
    for (_, lazy), step in steps.items():
        for _ in range(60 if lazy else 0):  # until the averages of all groups have their place
            step()
    for _ in range(repeats + 2):
        for key, step in steps.items():
            times[key].append(step())
    median = {key: statistics.median(seconds[2:]) for key, seconds in times.items()}  # the first make the states
    rows = [
        {
            "M": str(M),
            "lazy, ms": 1000 * median[M, True],
            "dense, ms": 1000 * median[M, False],
            "lazy / lazy at M = 1": median[M, True] / median[1, True],
            "dense / dense at M = 1": median[M, False] / median[1, False],
        }
        for M in GROUPS
    ]
    table = pd.DataFrame(rows).to_markdown(index=False, floatfmt=".2f")
    text = f"# A step of stage 2 without the search, by number of groups\n\nBatch {batch}. {__doc__}\n\n{table}\n"
    print(text)
    if out is not None:
        write_atomically(out / "optimiser.md", text)


if __name__ == "__main__":
    run(main)
