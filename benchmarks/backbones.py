"""Are our backbones as fast as the plain definitions? `python -m benchmarks.backbones --out benchmarks/results`

Both hold the same random weights at published size and run by turns in one process; only ratios within a run mean
something where other jobs share the machine. Ours run as in the workflow (convolutions channels last), the plain ones
in the default layout. CUDA is used where there is one; on a CPU OMP_NUM_THREADS sets the threads, one by default.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor
from torch.backends import cudnn

from benchmarks.plain import PLAIN, PlainTokenizer
from stscq.backbones import Tokenizer, build
from stscq.backbones.base import fast_layout
from stscq.cli_tools import run
from stscq.errors import ParamsError, StscqError
from stscq.files import write_atomically
from tests.test_backbones import PUBLISHED

SIZE = 256
AGREE = 1e-4
"""Largest relative difference of outputs, in norm."""
NOTE = (
    "Seconds are medians. ratio: ours / plain, median over pairs of runs that followed each other (below 1: ours is "
    "faster), with the smallest and largest beside it. Other jobs share the machine: only ratios count, and only "
    "within one run. difference: of the two outputs, relative in norm."
)


class Timing(NamedTuple):
    """Medians in seconds; ours / plain over pairs: median, smallest, largest."""

    ours_s: float
    plain_s: float
    ratio: float
    ratio_low: float
    ratio_high: float


def pair(sizes: Mapping[str, Any], seed: int = 0) -> tuple[Tokenizer, PlainTokenizer]:
    """Our tokenizer in the workflow's layout and the plain one, with the same random weights."""
    torch.manual_seed(seed)
    ours = build(**sizes).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            if parameter.ndim == 1:  # norms and biases: as constructed, a wrong one might not show
                parameter.add_(0.1 * torch.randn_like(parameter))
    arguments = {name: value for name, value in sizes.items() if name != "family"}
    plain = PLAIN[sizes["family"]](**arguments).eval()
    plain.load_state_dict(ours.state_dict())
    return fast_layout(ours), plain


def relative_difference(ours: Tensor, plain: Tensor) -> float:
    """Raises StscqError when it is more than rounding."""
    difference = float((ours - plain).norm() / plain.norm())
    if not difference < AGREE:
        raise StscqError(
            f"ours and plain differ by {difference:.1e} (relative); nothing is worth timing before they agree"
        )
    return difference


def clock(call: Callable[[], Tensor]) -> float:
    """Seconds of one call, the GPU's work included."""
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def interleaved(ours: Callable[[], Tensor], plain: Callable[[], Tensor], repeats: int) -> Timing:
    """Times of both by turns, after one call of each to warm up."""
    clock(ours), clock(plain)
    times = [(clock(ours), clock(plain)) for _ in range(repeats)]
    ratios = [a / b for a, b in times]
    ours_s, plain_s = (statistics.median(column) for column in zip(*times, strict=True))
    return Timing(ours_s, plain_s, statistics.median(ratios), min(ratios), max(ratios))


@torch.no_grad()
def measure(name: str, batch: int, repeats: int, device: str) -> list[dict[str, Any]]:
    """One row for encode and one for decode. Raises StscqError when outputs differ by more than rounding."""
    ours, plain = pair(PUBLISHED[name])
    ours, plain = ours.to(device), plain.to(device)
    images = torch.rand(batch, 3, SIZE, SIZE, device=device)
    images_last = images.contiguous(memory_format=torch.channels_last)  # as the workflow's batches are
    z = plain.encode(images).contiguous()
    steps = {
        "encode": (lambda: ours.encode(images_last), lambda: plain.encode(images)),
        "decode": (lambda: ours.decode(z), lambda: plain.decode(z)),
    }
    rows = []
    for step, (a, b) in steps.items():
        with cudnn.flags(enabled=True, allow_tf32=False):  # TF32 rounds too coarsely to compare outputs
            difference = relative_difference(a(), b())
        timing = interleaved(a, b, repeats)
        rows.append({"backbone": name, "step": step, "batch": batch, **timing._asdict(), "difference": difference})
    return rows


def machine(device: str) -> dict[str, str | int]:
    """What the times were taken on; no name of the host."""
    if device == "cuda":
        return {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return {"device": model, "torch": torch.__version__, "threads": torch.get_num_threads()}


def as_markdown(rows: list[dict[str, Any]], about: Mapping[str, str | int]) -> str:
    frame = pd.DataFrame(rows)
    frame["difference"] = frame["difference"].map("{:.0e}".format)
    table = frame.to_markdown(index=False, floatfmt=".3f", disable_numparse=[len(frame.columns) - 1])
    facts = ", ".join(f"{key}: {value}" for key, value in about.items())
    return f"# Our backbones against the plain definitions, {SIZE} x {SIZE}\n\n{facts}\n\n{table}\n\n{NOTE}\n"


def main(repeats: int = 5, batch: int = 4, out: Path | None = None) -> None:
    """Measure at batch 1 and BATCH, REPEATS pairs each; print the table, and write backbones_cpu or _cuda to OUT."""
    if repeats < 1 or batch < 1:
        raise ParamsError(f"--repeats {repeats}, --batch {batch}: both must be 1 or more")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = [row for name in PUBLISHED for size in sorted({1, batch}) for row in measure(name, size, repeats, device)]
    about = {**machine(device), "repeats": repeats}
    text = as_markdown(rows, about)
    print(text)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        content = json.dumps({"machine": about, "note": NOTE, "rows": rows}, indent=2) + "\n"
        for suffix, body in ((".md", text), (".json", content)):
            path = out / f"backbones_{device}{suffix}"
            write_atomically(path, body)


if __name__ == "__main__":
    run(main)
