"""Compressed files back to pictures (PNG, or JPEG where a file is named so), with the mark unless nobody wants it."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from stscq.codec.api import BATCH, Codec
from stscq.codec.bundle.find import files_of
from stscq.codec.bundle.read import Bundle
from stscq.codec.files.compressed_file import CompressedFile
from stscq.codec.files.names import image_names, picture_paths
from stscq.codec.files.sources import STDIN
from stscq.codec.files.statement import origin_note
from stscq.codec.files.write import as_picture, origin_of, write_bytes
from stscq.codec.watermark.embed import VERSION, mark
from stscq.errors import BitstreamError
from stscq.outputs import OutputError, check_places, refuse_to_replace


class DecompressSummary(NamedTuple):
    """there: the number of images whose pictures an earlier run had made."""

    out: str
    images: int
    there: int
    bytes: int
    seconds: float


class FileJob(NamedTuple):
    """A file to decompress. places: from the number of each image that is wanted to the path of its picture; watermark:
    do the pictures get the mark?"""

    file: CompressedFile
    bundle: Bundle
    places: dict[int, Path]
    watermark: bool

    @property
    def inputs(self) -> list[Path]:
        return [Path(self.file.path), *files_of(self.bundle)]

    def origin(self, number: int) -> str:
        """The note of the picture of one image. Raises BitstreamError, naming file and image, when it is damaged."""
        try:
            return origin_note(self.file.origin(self.bundle, number), VERSION if self.watermark else None)
        except BitstreamError as problem:
            raise BitstreamError(f"{self.file.path}: {self.file.names[number]}: {problem}") from problem


def to_stdout(file: CompressedFile, model: Path | None, watermark: bool) -> DecompressSummary:
    """The picture of a file of one image to standard output. Raises BitstreamError, naming the file."""
    began = time.monotonic()
    check_single(file)
    job = FileJob(file, file.bundle(model), {}, watermark)
    codec = Codec(job.bundle, torch.device("cpu"))
    picture = codec.reconstruct(file.symbols(codec, [0]))[0]
    write_bytes(shown(picture, job, job.origin(0), STDIN), STDIN, force=False)
    return DecompressSummary(STDIN, 1, 0, file.bytes, time.monotonic() - began)


def to_file(file: CompressedFile, out: Path, model: Path | None, force: bool, watermark: bool) -> DecompressSummary:
    """The picture of a file of one image to the file OUT. Raises as `to_folder` does."""
    check_single(file)
    return decompress([FileJob(file, file.bundle(model), {0: out}, watermark)], out, 1, force)


def check_single(file: CompressedFile) -> None:
    """Raises BitstreamError for a file of several images."""
    if len(file.names) != 1:
        raise BitstreamError(
            f"{file.path}: an archive of {len(file.names)} images; name a folder for --out, such as out/"
        )


def to_folder(
    files: Sequence[CompressedFile],
    out: Path,
    model: Path | None,
    only: Sequence[str],
    workers: int,
    force: bool,
    watermark: bool,
) -> DecompressSummary:
    """Every image of these files (or those called `only`) to OUT/NAME.png; each appears when it is whole.

    Files of one image, headers and indices of archives, and what is at the places of the pictures are looked at before
    the first picture is written. Raises BitstreamError, naming file and image, and OutputError, naming the place.
    """
    missing = set(only) - {name for one in files for name in one.names}
    if missing:
        paths = ", ".join(one.path for one in files)
        raise BitstreamError(f"{paths}: no image is called {sorted(missing)[0]!r}; see stscq inspect --names")
    pictures = iter(picture_paths(image_names(files)).values())
    jobs = []
    for one in files:
        places = {number: out / path for number, path in enumerate(islice(pictures, len(one.names)))}
        wanted = {number: place for number, place in places.items() if not only or one.names[number] in only}
        jobs.append(FileJob(one, one.bundle(model), wanted, watermark))
    if not out.is_dir() and check_places([out], [file for one in jobs for file in one.inputs]):
        raise OutputError(f"{out}: a file; name a folder")
    return decompress(jobs, out, workers, force)


def decompress(jobs: Sequence[FileJob], out: Path, workers: int, force: bool) -> DecompressSummary:
    """Make and write the pictures that are not there yet. Those that an earlier run made of the same bytes stay as they
    are, so that a run that was killed goes on where it was."""
    began = time.monotonic()
    there = made_before(jobs, force)
    images = sum(len(one.places) for one in jobs)
    codec = Codec(jobs[0].bundle, torch.device("cpu"))
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=images, initial=len(there), unit="image", disable=None, desc="decompress") as bar,
    ):
        for one in jobs:
            if one.bundle.fingerprint != codec.bundle.fingerprint:
                codec = Codec(one.bundle, torch.device("cpu"))
            numbers = [number for number, place in one.places.items() if place not in there]
            for i in range(0, len(numbers), BATCH):
                batch = numbers[i : i + BATCH]
                pictures = codec.reconstruct(one.file.symbols(codec, batch))
                origins, places = [one.origin(n) for n in batch], [one.places[n] for n in batch]
                list(pool.map(partial(write_picture, one, force), pictures, origins, places))
                bar.update(len(batch))
    return DecompressSummary(
        str(out), images, len(there), sum(one.file.bytes for one in jobs), time.monotonic() - began
    )


def made_before(jobs: Sequence[FileJob], force: bool) -> set[Path]:
    """The places at which pictures of the same bytes are already. Raises OutputError when other files are there."""
    numbers = {place: (one, number) for one in jobs for number, place in one.places.items()}
    files = check_places(numbers, [file for one in jobs for file in one.inputs])
    same = {place for place in files if is_made_of(place, *numbers[place])}
    refuse_to_replace([place for place in files if place not in same], force)
    return same


def is_made_of(place: Path, job: FileJob, number: int) -> bool:
    """Whether the file at `place` is the picture of this image."""
    origin = origin_of(place)
    return origin is not None and origin == job.origin(number)


def write_picture(job: FileJob, force: bool, picture: np.ndarray, origin: str, place: Path) -> None:
    write_bytes(shown(picture, job, origin, place.name), str(place), force)


def shown(picture: np.ndarray, job: FileJob, origin: str, name: str) -> bytes:
    """The file of a picture, S x S x 3, as it leaves: with the mark of its model, if it is to have it, and its note."""
    return as_picture(mark(picture, job.bundle.fingerprint) if job.watermark else picture, origin, name)
