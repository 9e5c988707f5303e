"""Large sets of images into an image store: in parallel, resumable, with a limit on corrupt images.

While it runs, OUT holds .partial-images.npy (all rows, filled chunk by chunk) and .partial-journal.jsonl (a line for
each chunk that is done); a killed conversion goes on after the last of these. Axes: N images, S x S pixels.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from stscq.data.store import AnyRow, make_index
from stscq.errors import DataError
from stscq.files import atomically, write_atomically
from stscq.processes import worker_pool

LISTED = 20
"""Unusable images that an error names."""
CHUNK = 256
"""Images between two lines of the journal: what a kill can cost, times the number of workers."""


class SourceImage(Protocol):
    """An image and what a store says about it. Sent to worker processes; its repr tells it from those of other sets."""

    @property
    def row(self) -> AnyRow:
        """What the index says of it."""

    def image(self, size: int) -> np.ndarray:
        """size x size x 3 uint8 RGB. Raises DataError when it cannot be read."""


def convert(sources: Sequence[SourceImage], out: Path, size: int, most_corrupt: int, workers: int) -> list[str]:
    """Write the store OUT from `sources`. Returns a line for each image that was left out as corrupt: which, and why.

    Raises DataError when two images have the same name, and when more than `most_corrupt` are corrupt, naming up to
    LISTED of them (before the end where even more are); what was done is kept.
    """
    make_index([source.row for source in sources], out)  # wrong names are told now, not after hours
    out.mkdir(parents=True, exist_ok=True)
    images, journal = out / ".partial-images.npy", out / ".partial-journal.jsonl"
    done = resume(sources, images, journal, size)
    todo = [i for i in range(0, len(sources), CHUNK) if i not in done]
    progress = tqdm(total=len(sources), initial=len(sources) - sum(len(sources[i : i + CHUNK]) for i in todo))
    progress.set_description("images")
    work = partial(convert_chunk, images=images, size=size)
    with (
        seen_again(journal),
        journal.open("a", encoding="utf-8") as file,
        worker_pool(workers) as pool,
        progress,
    ):
        # A bounded number of chunks at a time: images of packs carry their bytes with them.
        for batch in batches(todo, 4 * workers):
            for start, found in zip(batch, pool.map(work, batch, [sources[i : i + CHUNK] for i in batch]), strict=True):
                done[start] = found
                file.write(json.dumps({"start": start, "corrupt": found}) + "\n")
                file.flush()
                os.fsync(file.fileno())
                progress.update(len(sources[start : start + CHUNK]))
                check_corrupt(done, sources, out, most_corrupt, margin=LISTED)
        check_corrupt(done, sources, out, most_corrupt)
    corrupt = merge(done)
    finish(sources, list(corrupt), images, journal, out)
    return [f"{sources[number].row.source}: {problem}" for number, problem in corrupt.items()]


@contextmanager
def seen_again(journal: Path) -> Iterator[None]:
    """Where corrupt images end a conversion, the next one reads their chunks again: somebody may have repaired them."""
    try:
        yield
    except DataError:
        whole = [line for line in read_journal(journal) if not line.get("corrupt")]
        write_atomically(journal, "".join(json.dumps(line) + "\n" for line in whole))
        raise


def convert_chunk(start: int, sources: Sequence[SourceImage], images: Path, size: int) -> dict[str, str]:
    """Fill the rows from `start` on. Returns the corrupt ones: row number (as JSON has it) -> what is wrong."""
    array = np.load(images, mmap_mode="r+", allow_pickle=False)
    corrupt = {}
    for number, source in enumerate(sources, start):
        try:
            array[number] = source.image(size)
        except DataError as problem:
            corrupt[str(number)] = str(problem)
    array.flush()
    return corrupt


def batches(items: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for i in range(0, len(items), size):
        yield items[i : i + size]


def resume(sources: Sequence[SourceImage], images: Path, journal: Path, size: int) -> dict[int, dict[str, str]]:
    """The chunks that an earlier run of the same conversion finished; both files are made anew when there is none."""
    digest = hashlib.sha256(repr((size, CHUNK)).encode())
    for source in sources:
        digest.update(repr(source).encode())
    head = {"conversion": digest.hexdigest()}
    lines = read_journal(journal)
    if images.is_file() and lines and lines[0] == head:
        return {line["start"]: line["corrupt"] for line in lines[1:]}
    np.lib.format.open_memmap(images, "w+", np.uint8, (len(sources), size, size, 3)).flush()
    journal.write_text(json.dumps(head) + "\n", encoding="utf-8")
    return {}


def read_journal(journal: Path) -> list[dict[str, Any]]:
    """Its lines, without what a kill cut off (which is also cut from the file, so that lines can be added)."""
    if not journal.is_file():
        return []
    whole = [line for line in journal.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    journal.write_text("".join(whole), encoding="utf-8")
    return [json.loads(line) for line in whole]


def merge(done: dict[int, dict[str, str]]) -> dict[int, str]:
    """Row number -> what is wrong, of all chunks, in order."""
    return dict(sorted((int(number), problem) for chunk in done.values() for number, problem in chunk.items()))


def check_corrupt(
    done: dict[int, dict[str, str]], sources: Sequence[SourceImage], out: Path, most_corrupt: int, margin: int = 0
) -> None:
    corrupt = merge(done)
    if len(corrupt) > most_corrupt + margin:
        lines = [f"{sources[number].row.source}: {problem}" for number, problem in list(corrupt.items())[:LISTED]]
        shown = "; ".join(lines) + (f"; and {len(corrupt) - LISTED} more" if len(corrupt) > LISTED else "")
        raise DataError(
            f"{out}: {len(corrupt)} unusable images, and {most_corrupt} may be left out (data.most_corrupt or "
            f"--most-corrupt; 0 for verification pairs, which must be whole): {shown}"
        )


def finish(sources: Sequence[SourceImage], corrupt: Sequence[int], images: Path, journal: Path, out: Path) -> None:
    """Fill the holes of corrupt images from the end, shorten the array, write the index, put both in place."""
    rows = [source.row for source in sources]
    keep = len(rows) - len(corrupt)
    if not keep:
        raise DataError(f"{out}: no image could be read")
    array = np.load(images, mmap_mode="r+", allow_pickle=False)
    shortened = len(array) == keep < len(rows)  # by a run that was killed right after
    holes = [number for number in corrupt if number < keep]
    spare = sorted(set(range(keep, len(rows))) - set(corrupt))
    for hole, number in zip(holes, spare, strict=True):
        rows[hole] = rows[number]
        if not shortened:
            array[hole] = array[number]
    index = make_index(rows[:keep], out)
    array.flush()
    if keep < len(rows):
        shorten(images, keep)
    with atomically(out / "index.parquet") as partial_index:
        index.to_parquet(partial_index)
    images.replace(out / "images.npy")
    journal.unlink()


def shorten(images: Path, keep: int) -> None:
    """Cut the .npy file to its first `keep` rows in place: numpy leaves room in the header for any length."""
    with images.open("r+b") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        file.seek(0)
        shorter = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (keep, *shape[1:])}
        np.lib.format.write_array_header_1_0(file, shorter)
        assert file.tell() == start
        file.truncate(start + keep * int(np.prod(shape[1:])) * dtype.itemsize)
