"""Your own faces, one folder a person: `people/NAME/*.jpg`. Faces are detected, then aligned."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from stscq.data import photos
from stscq.data.align import detect_and_crop
from stscq.data.pixels import SUFFIXES
from stscq.data.store import Row
from stscq.errors import DataError


class PersonPhoto(NamedTuple):
    """One photo, for stscq.data.convert. path: NAME/FILE, from the folder of people; changed: a photo that was replaced
    is read again."""

    folder: Path
    path: str
    changed: int

    @property
    def row(self) -> Row:
        return Row(str(Path(self.path).with_suffix("")), Path(self.path).parts[0], self.path)

    def image(self, size: int) -> np.ndarray:
        return detect_and_crop(photos.read_photo(self.folder / self.path), size)


def list_photos(folder: Path) -> list[PersonPhoto]:
    """All photos, person by person, in order of name; hidden files (macOS's ._1.jpg) are passed over.

    Raises DataError when there are none, or when nobody has two (verification compares photos of the same person).
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected {folder}/NAME/*.jpg")
    try:
        people = {
            person: sorted(p for p in person.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            for person in sorted(folder.iterdir())
            if person.is_dir() and not person.name.startswith(".")
        }
    except OSError as problem:
        raise DataError(f"{problem.filename}: cannot be read ({problem.strerror})") from problem
    found = [
        # Of a link where it leads nowhere, as git-annex leaves them: a photo that cannot be read.
        PersonPhoto(folder, str(path.relative_to(folder)), path.stat(follow_symlinks=path.exists()).st_mtime_ns)
        for paths in people.values()
        for path in paths
    ]
    if not found:
        raise DataError(f"{folder}: no photos found; expected {folder}/NAME/*.jpg")
    if max(len(paths) for paths in people.values()) < 2:
        raise DataError(f"{folder}: everybody has fewer than two photos; verification needs two or more a person")
    return found


def read_photo(path: Path) -> np.ndarray:
    """H x W x 3 uint8 RGB, upright. Raises DataError, with the path, when it cannot be read (stscq.data.photos)."""
    try:
        return photos.read_photo(path)
    except DataError as problem:
        raise DataError(f"{path}: {problem}") from problem
