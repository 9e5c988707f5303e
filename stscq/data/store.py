"""Images at rest: one uint8 array and one Parquet index, so that half a million faces are two files.

A store is a folder with `images.npy` (N x S x S x 3, RGB, opened memory-mapped) and `index.parquet` (one row an image,
in the order of the array: image_id, identity, source, group, and what else a set says of its images).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from stscq.errors import DataError
from stscq.files import atomically, check_permission

if TYPE_CHECKING:  # half a second for each of hundreds of training jobs, which only need the images
    import pandas as pd


class Row(NamedTuple):
    """What the index says of an image. group: of people, for fairness; empty where nobody has labelled them."""

    image_id: str
    identity: str
    source: str
    group: str = ""


COLUMNS = list(Row._fields)


class AnyRow(Protocol):
    """A Row, or a longer named tuple that begins like one."""

    @property
    def image_id(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def _fields(self) -> tuple[str, ...]: ...


class Face(NamedTuple):
    row: Row
    image: np.ndarray


class Store(NamedTuple):
    """images: N x S x S x 3 uint8, memory-mapped, read-only; index: N rows, whose first columns are COLUMNS."""

    images: np.ndarray
    index: pd.DataFrame  # type: ignore[assignment]  # shadows tuple.index, which nobody needs here


def write_store(faces: Iterable[Face], out: Path, total: int | None = None) -> int:
    """Write a store; it appears under `out` only when complete. Returns the number of faces.

    Raises DataError when two faces have the same image_id, or when there is none.
    """
    rows, images = [], []
    for face in tqdm(faces, total=total, desc="faces", unit="image", mininterval=1):
        rows.append(face.row)
        images.append(face.image)
    index = make_index(rows, out)
    with atomically(out / "images.npy") as partial:
        np.save(partial, np.stack(images))
    with atomically(out / "index.parquet") as partial:
        index.to_parquet(partial)
    return len(index)


def make_index(rows: Sequence[AnyRow], out: Path) -> pd.DataFrame:
    """The index of a store. Raises DataError when it is empty, when two images have the same image_id, or for a name
    that cannot be written."""
    import pandas as pd

    if not rows:
        raise DataError(f"{out}: no faces to store")
    for name in (getattr(row, field) for row in rows for field in row._fields):
        if isinstance(name, str) and name != name.encode(errors="replace").decode():
            raise DataError(f"{out}: {name!r} is no name in UTF-8; rename it")
    index = pd.DataFrame(rows, columns=list(rows[0]._fields))
    twice = index.image_id[index.image_id.duplicated()]
    if len(twice):
        raise DataError(f"{out}: two images are called {twice.iloc[0]!r}; rename one")
    return index


def open_store(folder: Path) -> Store:
    """Open a store without reading its pixels.

    Raises DataError when a file is missing or damaged, or the two do not fit together.
    """
    import pandas as pd

    images = open_images(folder)
    with readable(folder):
        index = pd.read_parquet(folder / "index.parquet")
    if len(images) != len(index) or list(index.columns)[: len(COLUMNS)] != COLUMNS:
        raise DataError(f"{folder}: index.parquet does not describe images.npy; run the rule prepare_faces again")
    return Store(images, index)


def open_images(folder: Path) -> np.ndarray:
    """The images of a store alone. Raises DataError when they are missing or damaged."""
    with readable(folder):
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise DataError(f"{folder}/images.npy: {images.dtype} {images.shape}, expected uint8 N x S x S x 3")
    return images


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """What a file of a store cannot be read by becomes a DataError."""
    try:
        yield
    except (OSError, ValueError) as problem:
        check_permission(folder / "images.npy", DataError)
        check_permission(folder / "index.parquet", DataError)
        raise DataError(f"{folder}: not a complete image store ({problem}); run the rule prepare_faces") from problem
