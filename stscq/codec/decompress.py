"""Compressed files back to pictures (PNG)."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from stscq.codec.api import BATCH, Codec
from stscq.codec.opened import Opened
from stscq.codec.write_file import as_png, origin_of, write_bytes
from stscq.errors import BitstreamError


class Summary(NamedTuple):
    """What was done. there: images whose pictures an earlier run had made."""

    out: str
    images: int
    there: int
    bytes: int
    seconds: float


def decompress_one(file: str, out: str, model: Path | None) -> Summary:
    """A file of one image to a PNG; `-` is standard output. Raises BitstreamError, naming the file."""
    began = time.monotonic()
    opened = Opened(file)
    if len(opened.names) != 1:
        raise BitstreamError(f"{file}: an archive of {len(opened.names)} images; name a folder for --out")
    codec = opened.codec(model)
    write_bytes(as_png(codec.paint(opened.symbols(codec, [0]))[0], opened.origin(codec, 0)), out)
    return Summary(out, 1, 0, opened.bytes, time.monotonic() - began)


def decompress_many(
    files: Sequence[str], out: Path, model: Path | None, only: Sequence[str] = (), workers: int = 1
) -> Summary:
    """Every image of these files (or those called `only`) to OUT/NAME.png; each appears when it is whole.

    Pictures that an earlier run made of the same bytes stay as they are, so a run that was killed goes on where it was.

    Files of one image, and headers and indices of archives, are looked at before the first picture is written. Raises
    BitstreamError, naming file and image.
    """
    began = time.monotonic()
    opened = [Opened(file) for file in files]
    chosen = [[n for n, name in enumerate(o.names) if not only or name in only] for o in opened]
    missing = set(only) - {name for o in opened for name in o.names}
    if missing:
        raise BitstreamError(
            f"{', '.join(files)}: no image is called {sorted(missing)[0]!r}; see stscq inspect --names"
        )
    names = [o.names[n] for o, numbers in zip(opened, chosen, strict=True) for n in numbers]
    if len(set(names)) < len(names):
        raise BitstreamError(f"{', '.join(files)}: two images have the same name; decompress one file at a time")
    paths = picture_paths(names)
    bundles = [one.bundle(model) for one in opened]
    codec, there = Codec(bundles[0], torch.device("cpu")), 0
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=len(names), unit="image", disable=None, desc="decompress") as bar,
    ):
        for one, bundle, numbers in zip(opened, bundles, chosen, strict=True):
            if bundle.fingerprint != codec.bundle.fingerprint:
                codec = Codec(bundle, torch.device("cpu"))
            for i in range(0, len(numbers), BATCH):
                batch = numbers[i : i + BATCH]
                new = [n for n in batch if not is_there(one, codec, n, out / paths[one.names[n]])]
                if new:
                    places = [out / paths[one.names[n]] for n in new]
                    origins = [one.origin(codec, n) for n in new]
                    list(pool.map(write_picture, codec.paint(one.symbols(codec, new)), origins, places))
                there += len(batch) - len(new)
                bar.update(len(batch))
    return Summary(str(out), len(names), there, sum(o.bytes for o in opened), time.monotonic() - began)


def is_there(opened: Opened, codec: Codec, number: int, place: Path) -> bool:
    """Whether this picture is that of these bytes. Raises BitstreamError, naming file and image."""
    found = origin_of(place)
    try:
        return found is not None and found == opened.origin(codec, number)
    except BitstreamError as problem:
        raise BitstreamError(f"{opened.path}: {opened.names[number]}: {problem}") from problem


def write_picture(picture: np.ndarray, origin: str, place: Path) -> None:
    write_bytes(as_png(picture, origin), str(place))


def picture_paths(names: Sequence[str]) -> dict[str, str]:
    """faces/1.jpg -> faces/1.png; where two would be the same, faces/1.jpg.png."""
    short = {name: str(PurePosixPath(name).with_suffix(".png")) for name in names}
    taken: dict[str, int] = {}
    for path in short.values():
        taken[path] = taken.get(path, 0) + 1
    return {name: path if taken[path] == 1 else f"{name}.png" for name, path in short.items()}
