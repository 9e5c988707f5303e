"""What each published row costs on this machine: seconds an image and peak memory, at published size, without weights.

python -m stscq.evaluation.measure_cost --models '{"titok_s": {...}}' --backbones '["titok_s"]' --image-size 256 ...

Unlike the counts of stscq.evaluation.count_cost these numbers change from run to run. Every row has a process of its
own, so that no row's memory is another's; times are on one thread unless OMP_NUM_THREADS says otherwise.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from stscq.cli_tools import run
from stscq.evaluation.cost import CodingScheme
from stscq.evaluation.count_cost import key_columns, published_scheme
from stscq.evaluation.measured_row import MeasuredCost, measure
from stscq.evaluation.published import published_rows
from stscq.files import progress_seconds, write_atomically
from stscq.processes import worker_pool

TOO_LITTLE = "not enough memory on this machine"
NOT_ASKED = "not measured in this profile"


def in_fresh_process(scheme: CodingScheme, threads: int, repeats: int | None = None) -> MeasuredCost:
    """`measure` in a process that did nothing else. Raises MemoryError when that ran out of memory."""
    with worker_pool(1) as process:
        try:
            return process.submit(measure, scheme, threads, repeats).result()
        except RuntimeError as problem:
            if out_of_memory(problem):
                raise MemoryError(TOO_LITTLE) from problem
            raise


def out_of_memory(problem: RuntimeError) -> bool:
    """Killed by the system, refused by CUDA, or refused by the CPU's allocator, which has no error of its own."""
    return isinstance(problem, BrokenProcessPool | torch.OutOfMemoryError) or "allocate memory" in str(problem)


def measure_rows(models: Mapping[str, Any], backbones: Sequence[str], image_size: int, rank: int) -> pd.DataFrame:
    """A row for each published one; empty cells, with the reason, for what was not measured.

    The same encoder and decoder run in all rows of a backbone: their times are medians over all of them, so that rows
    of a backbone differ by what differs, the search.
    """
    rows = published_rows("cost").to_dict("records")
    found: list[MeasuredCost | str] = []
    for row in tqdm(rows, desc="rows", mininterval=progress_seconds()):
        found.append(NOT_ASKED)
        if row["backbone"] in backbones:
            scheme = published_scheme(row, {**models[row["backbone"]], "image_size": image_size}, rank)
            try:
                found[-1] = in_fresh_process(scheme, torch.get_num_threads())
            except MemoryError as problem:
                found[-1] = str(problem)
    return pd.DataFrame(
        [
            {
                **key_columns(row),
                **cells(row, m, [other for r, other in zip(rows, found, strict=True) if alike(r, row)]),
            }
            for row, m in zip(rows, found, strict=True)
        ]
    )


def alike(a: Mapping[Any, Any], b: Mapping[Any, Any]) -> bool:
    return bool(a["backbone"] == b["backbone"])


def cells(row: Mapping[Any, Any], found: MeasuredCost | str, backbone: Sequence[MeasuredCost | str]) -> dict[str, Any]:
    """Columns of one row, beside the published ones; `backbone` is what was found in all rows of its backbone."""
    printed = {"published_seconds_per_image": row["seconds_per_image"], "published_gpu_mem_mb": row["gpu_mem_mb"]}
    if isinstance(found, str):
        return {**dict.fromkeys(COLUMNS), **printed, "not_measured": found}
    measured = [m for m in backbone if isinstance(m, MeasuredCost)]
    encoder = median(s for m in measured for s in m.encoder_seconds)
    decoder = median(s for m in measured for s in m.decoder_seconds)
    search = median(found.search_seconds)
    return {
        "encode_seconds": encoder + search,
        "search_seconds": search,
        "seconds_per_image": encoder + search + decoder,
        "sender_peak_mib": found.sender_peak_mib,
        "peak_mib": found.peak_mib,
        "device": found.device,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **printed,
        "not_measured": None,
    }


COLUMNS = (
    *("encode_seconds", "search_seconds", "seconds_per_image", "sender_peak_mib", "peak_mib"),
    *("device", "threads", "torch"),
)


def main(models: str, backbones: str, image_size: int, rank: int, out: Path) -> None:
    """Writes OUT/measured.csv. MODELS (published sizes) and BACKBONES (those to measure): JSON. RANK: the router's."""
    frame = measure_rows(json.loads(models), json.loads(backbones), image_size, rank)
    write_atomically(out / "measured.csv", frame.to_csv(index=False, float_format="%.6g"))


if __name__ == "__main__":
    run(main)
