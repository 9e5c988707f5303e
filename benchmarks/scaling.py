"""What do millions of images cost besides computing? `python -m benchmarks.scaling --out benchmarks/results`

A store of SMALL x SMALL pixels is made, opened, sampled as training does, and deleted; so is an archive. At two sizes:
what grows with the number of images is told from what does not. docs/scaling.md reads the table.
"""

import gc
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import torch

from benchmarks.timing import MIB, forget_peak, load_average, resident_mib
from stscq.cli_tools import run
from stscq.codec.files import archive
from stscq.data.store import COLUMNS, open_images, open_store
from stscq.files import write_atomically
from stscq.training.batches import Batches
from stscq.training.faces import training_batches

ROOT = Path(__file__).parent.parent
SMALL, BATCH, PAYLOAD = 16, 128, 48
"""Pixels of a side; images a draw; bytes an image in the archive."""
CHUNK = 10_000
BACKBONE, LATENT = "maskgit_vqgan", 64 * 32
"""Whose stages are looked up, and the numbers in a latent of its: T d."""
STAGES = ("stage1_tokenizer", "stage1_codebooks", "stage2", "stage3")
SCALES = {"CASIA-WebFace": 490_000, "Glint360K": 17_000_000, "a billion": 1_000_000_000}
SIDES = (64, 112, 256)


class Held(NamedTuple):
    """What a call took: seconds of the processor (others on the machine do not count); MiB that its result keeps;
    MiB that it held at most. Pages of mapped files count in `most` alone."""

    seconds: float
    kept: float
    most: float


def held(call: Callable[[], Any]) -> tuple[Any, Held]:
    gc.collect()
    forget_peak()
    before, whole = resident_mib("RssAnon"), resident_mib("VmRSS")
    began = time.process_time()
    result = call()
    seconds = time.process_time() - began
    most = resident_mib("VmHWM") - whole
    gc.collect()
    return result, Held(seconds, resident_mib("RssAnon") - before, most)


def write_images(folder: Path, count: int) -> None:
    """A store as stscq.data.convert leaves it, a chunk at a time; one person has ten images."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    array = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, SMALL, SMALL, 3))
    schema = pyarrow.schema([(name, pyarrow.string()) for name in (*COLUMNS, "split")])
    with pyarrow.parquet.ParquetWriter(folder / "index.parquet", schema) as writer:
        for start in range(0, count, CHUNK):
            numbers = range(start, min(start + CHUNK, count))
            array[start : start + CHUNK] = random.integers(0, 256, (len(numbers), SMALL, SMALL, 3), dtype=np.uint8)
            writer.write_table(pyarrow.table(columns(numbers), schema=schema))
    array.flush()


def columns(numbers: range) -> dict[str, list[str]]:
    return {
        "image_id": [f"p{number // 10}/{number % 10}" for number in numbers],
        "identity": [f"p{number // 10}" for number in numbers],
        "source": [f"p{number // 10}/{number % 10}.jpg" for number in numbers],
        "group": [""] * len(numbers),
        "split": ["test" if number % 20 == 0 else "train" for number in numbers],
    }


def write_archive(file: Path, count: int) -> None:
    """As `stscq compress` does to standard output, without the model."""
    head = archive.header(bytes(archive.MODEL))
    payloads = np.random.default_rng(0).integers(0, 256, (CHUNK, PAYLOAD), dtype=np.uint8)
    with file.open("wb") as out:
        out.write(head)
        for number in range(count):
            out.write(archive.record(head, number, payloads[number % CHUNK].tobytes()))
        names = (f"p{number // 10}/{number % 10}" for number in range(count))
        out.write(archive.tail(head, names, (PAYLOAD for _ in range(count))))


def draws(batches: Batches) -> Iterator[tuple[float, float]]:
    """Of fifty draws of BATCH images each: microseconds an image, and MiB of the process without mapped files."""
    step = 0
    while True:
        began = time.process_time()
        for _ in range(50):
            batches.draw(step)
            step += 1
        yield 1e6 * (time.process_time() - began) / 50 / BATCH, resident_mib("RssAnon")


def measured(folder: Path, count: int, rounds: int) -> dict[str, float]:
    """One row of the table of measurements."""
    row: dict[str, float] = {"images": count}
    _, made = held(lambda: write_images(folder / "store", count))
    row["store written, s"], row["its memory, MiB"] = made.seconds, made.kept
    row["images, bytes each"] = (folder / "store/images.npy").stat().st_size / count
    row["index, bytes each"] = (folder / "store/index.parquet").stat().st_size / count
    images, opened = held(lambda: open_images(folder / "store"))
    row["open_images, ms"] = 1e3 * opened.seconds
    del images
    store, opened = held(lambda: open_store(folder / "store"))
    row["open_store, s"], row["open_store, bytes an image"] = opened.seconds, opened.most * MIB / count
    del store
    index = folder / "store/index.parquet"
    batches, opened = held(lambda: training_batches(folder / "store", index, BATCH, 1, torch.device("cpu")))
    row["training_batches, s"], row["rows to train on, bytes an image"] = opened.seconds, batches.rows.nbytes / count
    drawn = draws(batches)
    first = next(drawn)
    later = [next(drawn) for _ in range(rounds)]
    row["draw, us an image"] = float(np.median([us for us, _ in later]))
    row["memory after 50 draws, MiB"], row[f"after {50 * (rounds + 1)}"] = first[1], later[-1][1]
    drawn.close()
    shutil.rmtree(folder / "store")

    file = folder / "faces.stscq"
    _, made = held(lambda: write_archive(file, count))
    row["archive written, us an image"] = 1e6 * made.seconds / count
    row["archive, memory of writing, bytes an image"] = made.most * MIB / count
    with file.open("rb") as stream:
        opened_archive, opened = held(lambda: archive.Archive(stream))
        row["archive, bytes an image"] = opened_archive.bytes / count
        row["of it index, bytes an image"] = opened_archive.index_bytes / count
        row["archive opened, s"], row["archive opened, bytes an image"] = opened.seconds, opened.most * MIB / count
        numbers = np.random.default_rng(1).integers(0, count, 2000)
        began = time.process_time()
        for number in numbers:
            opened_archive.payload(int(number))
        row["payload at random, us"] = 1e6 * (time.process_time() - began) / len(numbers)
    file.unlink()
    return row


def computing() -> dict[str, float]:
    """Core-days of one image through each stage once, by the run in results/lfw (64 x 64, one core a job)."""
    runs = pd.read_csv(ROOT / "results/lfw/tables/training_cost.csv")
    runs = runs[(runs.what == "training") & (runs.backbone == BACKBONE) & runs.stage.isin(STAGES)]
    return {
        f"{stage} once, core-days": 1 / rate / 86400
        for stage, rate in zip(runs.stage, runs.images_per_second, strict=True)
    }


def extrapolated(row: dict[str, float]) -> pd.DataFrame:
    """The measured bytes and seconds an image, times the images of SCALES."""
    each = {
        **{f"store at {side} x {side}, GB": 3 * side * side / 1e9 for side in SIDES},
        "its index, GB": row["index, bytes each"] / 1e9,
        "open_store in memory, GB": row["open_store, bytes an image"] / 1e9,
        "rows to train on in memory, GB": row["rows to train on, bytes an image"] / 1e9,
        "archive, GB": row["archive, bytes an image"] / 1e9,
        "of it index, GB": row["of it index, bytes an image"] / 1e9,
        "archive opened in memory, GB": row["archive opened, bytes an image"] / 1e9,
        "archive opened, minutes": row["archive opened, s"] / row["images"] / 60,
        "archive written without a model, hours": row["archive written, us an image"] / 3.6e9,
        "drawn once, hours": row["draw, us an image"] / 3.6e9,
        f"one copy of latents kept ({BACKBONE} at 64 x 64), GB": 4 * LATENT / 1e9,
        **computing(),
    }
    return pd.DataFrame({name: {what: one * count for what, one in each.items()} for name, count in SCALES.items()})


def main(out: Path | None = None, counts: str = "500000,2000000", rounds: int = 20) -> None:
    """Prints the tables; writes OUT/scaling.md and .json. COUNTS of images; ROUNDS of 50 draws."""
    rows = []
    for count in map(int, counts.split(",")):
        with tempfile.TemporaryDirectory() as place:
            rows.append(measured(Path(place), count, rounds))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows).set_index("images").T.rename_axis("images")
    table.columns = [f"{int(count):,}" for count in table.columns]
    text = (
        f"# Millions of images\n\nImages of {SMALL} x {SMALL} pixels, payloads of {PAYLOAD} bytes, draws of {BATCH}. "
        "Times are the processor's, not the clock's: waiting for the disk is not in them.\n\n"
        f"{table.to_markdown(floatfmt='.4g')}\n\n"
        f"## Extrapolated from the last column\n\n{extrapolated(rows[-1]).to_markdown(floatfmt='.3g')}\n"
    )
    print(text)
    if out is not None:
        write_atomically(out / "scaling.md", text)
        write_atomically(out / "scaling.json", json.dumps({"load": load_average(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
