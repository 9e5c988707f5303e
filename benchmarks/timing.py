"""What the benchmarks share: calls that run by turns, memory, and tables with a JSON beside them."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.backbones import machine
from stscq.checkpoint import write_atomically

MIB = 2**20
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def medians(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Seconds of each call, the median of `repeats` rounds in which all run by turns, after one to warm up.

    Others on the machine slow all of a round, so ratios hold where single times do not.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if DEVICE == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def resident_mib(field: str = "VmRSS") -> float:
    """Of this process, from Linux: VmRSS now, VmHWM the most since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def extra_mib(call: Callable[[], object]) -> float:
    """Most memory that a call held beyond what was there before."""
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    forget_peak()
    before = resident_mib()
    call()
    return resident_mib("VmHWM") - before


def report(name: str, title: str, about: str, rows: list[dict[str, Any]], repeats: int, out: Path | None) -> None:
    """Print the table; write NAME_cpu or NAME_cuda, .md and .json, to OUT."""
    facts = {**machine(DEVICE), "repeats": repeats, "load": load_average()}
    table = pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g")
    text = f"# {title}\n\n{', '.join(f'{key}: {value}' for key, value in facts.items())}\n\n{table}\n\n{about}\n"
    print(text)
    if out is not None:
        write_atomically(out / f"{name}_{DEVICE}.md", text)
        write_atomically(out / f"{name}_{DEVICE}.json", json.dumps({"machine": facts, "rows": rows}, indent=2) + "\n")


def load_average() -> float:
    """Processes that wanted a core in the last minute; above the number of cores they waited."""
    return float(Path("/proc/loadavg").read_text().split()[0])
