"""Pictures of anything in folders, as ImageNet-1K has them: CLASS/*.JPEG, or all in one folder. Nothing is aligned."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stscq.data.pixels import SUFFIXES, centre, decode
from stscq.data.store import Row
from stscq.errors import DataError


class FolderImage(NamedTuple):
    """One image, for stscq.data.convert. path: relative to root, with /; its folder is the class."""

    root: Path
    path: str

    @property
    def row(self) -> Row:
        folder, slash, _ = self.path.rpartition("/")
        return Row(self.path.rpartition(".")[0], folder if slash else "unknown", self.path)

    def image(self, size: int) -> np.ndarray:
        return centre(decode(self.root / self.path), size)


def list_images(root: Path) -> list[FolderImage]:
    """The images of ROOT and of its folders (not deeper), sorted by path.

    Only the folders are read, not a single file's data: ImageNet's 1.28 million are listed in seconds. Raises DataError
    when there are none, or when a name cannot be printed.
    """
    paths, folders = scan(root)
    for folder in folders:
        paths += [f"{folder}/{name}" for name in scan(root / folder)[0]]
    if not paths:
        raise DataError(f"{root}: no images; expected {root}/CLASS/*.JPEG or {root}/*.JPEG")
    unprintable = next((path for path in paths if not path.isprintable()), None)
    if unprintable is not None:
        raise DataError(f"{root}: {unprintable!r} is no name that can be printed; rename it")
    return [FolderImage(root, path) for path in sorted(paths)]


def scan(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the images and of the folders in a folder; hidden ones are skipped. Raises DataError if unreadable."""
    images, folders = [], []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                # A link that leads nowhere is counted, as a corrupt image, and not passed over in silence.
                elif Path(entry.name).suffix.lower() in SUFFIXES and (entry.is_file() or entry.is_symlink()):
                    images.append(entry.name)
    except OSError as problem:
        raise DataError(f"{folder}: not a readable folder of images ({problem.strerror})") from problem
    return images, folders
