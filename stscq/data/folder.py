"""Your own faces, one folder a person: `people/NAME/*.jpg`. Faces are detected, then aligned."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stscq.data.align import detect_and_crop
from stscq.data.pixels import SUFFIXES, decode
from stscq.data.store import Face, Row
from stscq.errors import DataError


def list_photos(folder: Path) -> list[Path]:
    """All photos, person by person, in order of name.

    Raises DataError when there are none, or when nobody has two (verification compares photos of the same person).
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected {folder}/NAME/*.jpg")
    people = {
        person: sorted(p for p in person.iterdir() if p.suffix.lower() in SUFFIXES)
        for person in sorted(folder.iterdir())
        if person.is_dir() and not person.name.startswith(".")
    }
    photos = [photo for found in people.values() for photo in found]
    if not photos:
        raise DataError(f"{folder}: no photos found; expected {folder}/NAME/*.jpg")
    if max(len(found) for found in people.values()) < 2:
        raise DataError(f"{folder}: everybody has fewer than two photos; verification needs two or more a person")
    return photos


def read_photo(path: Path) -> np.ndarray:
    """H x W x 3 uint8 RGB, upright. Raises DataError when it is no image, damaged, or unreasonably large."""
    try:
        return decode(path)
    except DataError as problem:
        raise DataError(f"{path}: {problem}") from problem


def read_folder(folder: Path, size: int) -> Iterator[Face]:
    """Aligned size x size faces. Raises DataError, naming the file, at the first photo that is unusable."""
    for path in list_photos(folder):
        photo = read_photo(path)
        try:
            face = detect_and_crop(photo, size)
        except DataError as problem:
            raise DataError(f"{path}: {problem}; remove it or replace it by a frontal photo") from problem
        source = path.relative_to(folder)
        yield Face(Row(str(source.with_suffix("")), source.parts[0], str(source)), face)
