"""Compressed files back to pictures (PNG)."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from stscq.codec.api import BATCH, Codec
from stscq.codec.bundle.find import files_of
from stscq.codec.bundle.read import Bundle
from stscq.codec.files.compressed_file import Opened
from stscq.codec.files.names import image_names, picture_paths
from stscq.codec.files.sources import STDIN
from stscq.codec.files.write import as_png, origin_of, write_bytes
from stscq.errors import BitstreamError
from stscq.outputs import OutputError, check_places, refuse_to_replace


class Summary(NamedTuple):
    """What was done. there: images whose pictures an earlier run had made."""

    out: str
    images: int
    there: int
    bytes: int
    seconds: float


class Work(NamedTuple):
    """What becomes of one file: the numbers of its images that are wanted, and where the picture of each goes."""

    opened: Opened
    bundle: Bundle
    places: dict[int, Path]

    @property
    def inputs(self) -> list[Path]:
        return [Path(self.opened.path), *files_of(self.bundle)]

    def origin(self, number: int) -> str:
        """Of the picture of one image. Raises BitstreamError, naming file and image, when it is damaged."""
        try:
            return self.opened.origin(self.bundle, number)
        except BitstreamError as problem:
            raise BitstreamError(f"{self.opened.path}: {self.opened.names[number]}: {problem}") from problem


def to_stdout(opened: Opened, model: Path | None) -> Summary:
    """The picture of a file of one image to standard output. Raises BitstreamError, naming the file."""
    began = time.monotonic()
    check_single(opened)
    codec = opened.codec(model)
    picture = codec.paint(opened.symbols(codec, [0]))[0]
    write_bytes(as_png(picture, opened.origin(codec.bundle, 0)), STDIN, force=False)
    return Summary(STDIN, 1, 0, opened.bytes, time.monotonic() - began)


def to_file(opened: Opened, out: Path, model: Path | None, force: bool) -> Summary:
    """The picture of a file of one image to the file OUT. Raises as `to_folder` does."""
    check_single(opened)
    return decompress([Work(opened, opened.bundle(model), {0: out})], out, 1, force)


def check_single(opened: Opened) -> None:
    if len(opened.names) != 1:
        raise BitstreamError(
            f"{opened.path}: an archive of {len(opened.names)} images; name a folder for --out, such as out/"
        )


def to_folder(
    files: Sequence[Opened], out: Path, model: Path | None, only: Sequence[str], workers: int, force: bool
) -> Summary:
    """Every image of these files (or those called `only`) to OUT/NAME.png; each appears when it is whole.

    Files of one image, headers and indices of archives, and what is at the places of the pictures are looked at before
    the first picture is written. Raises BitstreamError, naming file and image, and OutputError, naming the place.
    """
    missing = set(only) - {name for one in files for name in one.names}
    if missing:
        said = ", ".join(one.path for one in files)
        raise BitstreamError(f"{said}: no image is called {sorted(missing)[0]!r}; see stscq inspect --names")
    paths = iter(picture_paths(image_names(files)).values())
    work = []
    for one in files:
        places = {number: out / path for number, path in enumerate(islice(paths, len(one.names)))}
        wanted = {number: place for number, place in places.items() if not only or one.names[number] in only}
        work.append(Work(one, one.bundle(model), wanted))
    if not out.is_dir() and check_places([out], [file for one in work for file in one.inputs]):
        raise OutputError(f"{out}: a file; name a folder")
    return decompress(work, out, workers, force)


def decompress(work: Sequence[Work], out: Path, workers: int, force: bool) -> Summary:
    """Paint and write what is not there yet; pictures that an earlier run made of the same bytes stay as they are, so
    that a run that was killed goes on where it was."""
    began = time.monotonic()
    there = made_before(work, force)
    images = sum(len(one.places) for one in work)
    codec = Codec(work[0].bundle, torch.device("cpu"))
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=images, initial=len(there), unit="image", disable=None, desc="decompress") as bar,
    ):
        for one in work:
            if one.bundle.fingerprint != codec.bundle.fingerprint:
                codec = Codec(one.bundle, torch.device("cpu"))
            numbers = [number for number, place in one.places.items() if place not in there]
            for i in range(0, len(numbers), BATCH):
                batch = numbers[i : i + BATCH]
                pictures = codec.paint(one.opened.symbols(codec, batch))
                origins, places = [one.origin(n) for n in batch], [one.places[n] for n in batch]
                list(pool.map(write_picture, pictures, origins, places, [force] * len(batch)))
                bar.update(len(batch))
    return Summary(str(out), images, len(there), sum(one.opened.bytes for one in work), time.monotonic() - began)


def made_before(work: Sequence[Work], force: bool) -> set[Path]:
    """The places of pictures that are there, made from the same bytes. Raises OutputError when others are there."""
    numbers = {place: (one, number) for one in work for number, place in one.places.items()}
    files = check_places(numbers, [file for one in work for file in one.inputs])
    same = {place for place in files if is_made_of(place, *numbers[place])}
    refuse_to_replace([place for place in files if place not in same], force)
    return same


def is_made_of(place: Path, one: Work, number: int) -> bool:
    found = origin_of(place)
    return found is not None and found == one.origin(number)


def write_picture(picture: np.ndarray, origin: str, place: Path, force: bool) -> None:
    write_bytes(as_png(picture, origin), str(place), force)
