"""What does a step of stage 2 cost as groups are added? `python -m benchmarks.training --out benchmarks/results`

TiTok-S sizes (T 128, K 256, d 12), random latents and images that all pick their groups at random. A step has these
parts, timed apart in one run: the encoder (once, for it does not depend on M), the errors of every group, which the
router's third loss asks for and which grow with M by what they are, and the update: router, search in the chosen
groups, losses, backward pass and optimiser.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.backbones import pair
from benchmarks.timing import MIB, medians, report
from stscq.cli_tools import run
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.losses import RouterLossWeights, codebook_loss, router_losses
from stscq.quantization.mean_use import MeanUse
from stscq.quantization.router import Router
from stscq.quantization.search import group_errors
from stscq.training.lazy_adam import large_zeros
from stscq.training.optimiser import Optimiser
from tests.test_backbones import PUBLISHED

ABOUT = (
    "Milliseconds, medians. step: encoder, errors and update; /M=1: over the same at M = 1. optimiser MiB: averages "
    "held after the steps of this run, in which {used} groups were used at most: they are those of used groups, and "
    "room grows by doubling. The encoder's time is that of {images} images times {factor}."
)
WEIGHTS = RouterLossWeights(1.0, 1.0, 1.0)


class Step:
    """Stage 2 on M groups of T codebooks of K entries, from latents; only `use` groups are ever chosen."""

    def __init__(self, M: int, T: int, K: int, d: int, batch: int, use: int):
        weight = large_zeros((M, T, K, d), torch.device("cpu")).normal_()
        self.codebooks, self.router = Codebooks(weight, "cosine", sparse=True), Router(M, T, d, 16)
        model = nn.ModuleList([self.codebooks, self.router])
        self.optimiser = Optimiser(model, lr=1e-3, weight_decay=0.0, precision="fp32")
        self.mean_use = MeanUse(M, batch)
        self.M, self.use, self.shape = M, use, (batch, T, d)

    def __call__(self) -> tuple[float, float]:
        """Seconds of the errors and of the update."""
        z_e, group = torch.randn(self.shape), torch.randint(0, min(self.use, self.M), self.shape[:1])
        began = time.perf_counter()
        errors = group_errors(z_e, self.codebooks.prepared(), "cosine")
        between = time.perf_counter()
        g = self.router(z_e).softmax(1)
        losses = router_losses(g, self.mean_use(g), errors, WEIGHTS)
        quantised = self.codebooks(z_e, group)
        self.optimiser.backward(losses["loss"] + codebook_loss(quantised.z, quantised.z_q))
        self.optimiser.step()
        return between - began, time.perf_counter() - between

    def averages_mib(self) -> float:
        state = self.optimiser.optimisers["lazy"].state[self.codebooks.weight]
        return (state["average"].nbytes + state["square"].nbytes) / MIB


def main(batch: int = 32, use: int = 32, repeats: int = 15, out: Path | None = None, tiny: bool = False) -> None:
    """Prints the table; writes OUT/training_cpu.md and .json. --tiny: only that it runs."""
    torch.manual_seed(0)
    T, K, d = (4, 8, 5) if tiny else (128, 256, 12)
    images = min(batch, 4)
    encoder = 1e-3 if tiny else seconds_of_encoder(images) * batch / images
    steps = {M: Step(M, T, K, d, batch, use) for M in ((1, 3) if tiny else (1, 4, 16, 64, 256))}
    times: dict[int, list[tuple[float, float]]] = {M: [] for M in steps}
    for _ in range(2 * repeats):  # the first half makes the states
        for M, step in steps.items():
            times[M].append(step())
    rows: list[dict[str, Any]] = []
    for M, step in steps.items():
        errors, update = (statistics.median(part) for part in zip(*times[M][repeats:], strict=True))
        row = {"M": str(M), "encoder": encoder, "errors": errors, "update": update, "step": encoder + errors + update}
        first = rows[0] if rows else {key: 1e3 * value for key, value in row.items() if key != "M"}
        row = {key: value if isinstance(value, str) else 1e3 * value for key, value in row.items()}
        ratios = {f"{key}/M=1": row[key] / first[key] for key in ("errors", "update", "step")}
        rows.append({**row, **ratios, "optimiser MiB": step.averages_mib()})
    about = ABOUT.format(used=use, images=images, factor=batch // images)
    report("training", f"A step of stage 2, batch {batch}", about, rows, repeats, out)


@torch.no_grad()
def seconds_of_encoder(images: int) -> float:
    tokenizer, _ = pair(PUBLISHED["titok_s128"])
    faces = torch.rand(images, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    return medians({"encoder": lambda: tokenizer.encode(faces)}, 3)["encoder"]


if __name__ == "__main__":
    run(main)
