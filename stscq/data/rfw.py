"""Racial Faces in-the-Wild (RFW): verification pairs for four groups of people, as the archive unpacks.

test/data/GROUP/NAME/NAME_0001.jpg         photos of 400 x 400 pixels, not aligned
test/txts/GROUP/GROUP_pairs.txt            NAME a b (the same person), or NAME1 a NAME2 b (two people); no head line;
                                           ten folds one after the other, in each as many of both
test/txts/GROUP/GROUP_lmk.txt              /test/data/GROUP/NAME/NAME_0001.jpg, label, x and y of five landmarks: the
                                           eyes, the nose, the corners of the mouth; left in the picture first

The faces are aligned as InsightFace's training sets and verification packs are. M. Wang et al., "Racial Faces in the
Wild: Reducing Racial Bias by Information Maximization Adaptation Network", ICCV 2019.
"""

import re
import warnings
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from stscq.data.pairs import consecutive_folds, pair_table
from stscq.data.pixels import decode, face
from stscq.data.store import Row
from stscq.errors import DataError

Group = Literal["African", "Asian", "Caucasian", "Indian"]
FOLDS = 10
ALIGNED = 112
FARTHEST = 1e6
"""Pixels: a landmark farther off (or not a number) is none, and would upset the alignment."""
NAME, NUMBER = r"([\w.-]+)", r"(\d{1,4})"
PAIR = re.compile(rf"{NAME}\s+{NUMBER}(?:\s+{NAME})?\s+{NUMBER}", re.ASCII)

Points = tuple[float, ...]
"""x1, y1, .. x5, y5 in pixels of the photo."""


class RfwImage(NamedTuple):
    """One photo, for stscq.data.convert. photo: NAME/NAME_0001.jpg in the folder of its group."""

    folder: Path
    photo: str
    landmarks: Points

    @property
    def row(self) -> Row:
        group = self.folder.name
        person = self.photo.partition("/")[0]
        return Row(self.photo.removesuffix(".jpg"), person, f"{group}/{self.photo}", group.lower())

    def image(self, size: int) -> np.ndarray:
        return face(align(decode(self.folder / self.photo), self.landmarks), size)


class PhotoPair(NamedTuple):
    """A line of a pairs file: its number from 1, two photos as in RfwImage, and whether they show the same person."""

    line: int
    a: str
    b: str
    same: bool


def align(photo: np.ndarray, landmarks: Points) -> np.ndarray:
    """The face as ALIGNED x ALIGNED x 3, with its landmarks as near as can be to those of ArcFace's template."""
    # Imported here: it brings onnxruntime, which no other set needs.
    from insightface.utils.face_align import norm_crop

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of scikit-image, about insightface's call of it
        return norm_crop(photo, np.array(landmarks).reshape(5, 2), ALIGNED)


def open_group(root: Path, group: Group) -> tuple[list[RfwImage], pd.DataFrame]:
    """The photos in pairs, sorted by name, and the pairs (columns a, b, same, fold) as they are in the file.

    ROOT holds the archive's folder `test`, or is that folder. Raises DataError, naming file and line, when a line is
    malformed, a photo or its landmarks are missing, or the folds are unequal.
    """
    test = root / "test" if (root / "test").is_dir() else root
    texts, data = test / "txts" / group, test / "data" / group
    pairs = read_pairs(texts / f"{group}_pairs.txt")
    landmarks = read_landmarks(texts / f"{group}_lmk.txt")
    first_line = {photo: pair.line for pair in reversed(pairs) for photo in (pair.a, pair.b)}
    for photo, line in sorted(first_line.items(), key=lambda item: item[1]):
        if not (data / photo).is_file():
            raise DataError(f"{texts}/{group}_pairs.txt, line {line}: {data / photo} is missing; unpack RFW again")
        if photo not in landmarks:
            raise DataError(f"{texts}/{group}_pairs.txt, line {line}: {photo} has no landmarks in {group}_lmk.txt")
    photos = sorted(first_line)
    row = {photo: number for number, photo in enumerate(photos)}
    a, b = [row[pair.a] for pair in pairs], [row[pair.b] for pair in pairs]
    table = pair_table(a, b, [pair.same for pair in pairs], consecutive_folds(len(pairs), FOLDS))
    return [RfwImage(data, photo, landmarks[photo]) for photo in photos], table


def read_pairs(path: Path) -> list[PhotoPair]:
    """Raises DataError, naming the line, when one is malformed, or when the folds are unequal."""
    pairs = []
    for number, line in read_lines(path):
        match = PAIR.fullmatch(line)
        if match is None:
            raise DataError(f"{path}, line {number}: expected NAME a b, or NAME1 a NAME2 b; got {line[:60]!r}")
        name, a, other, b = match.groups()
        if name == other or (other is None and int(a) == int(b)):
            raise DataError(f"{path}, line {number}: neither two pictures of one person nor two people: {line[:60]!r}")
        pairs.append(PhotoPair(number, photo_of(name, a), photo_of(other or name, b), same=other is None))
    if not pairs or len(pairs) % FOLDS:
        line = f"line {pairs[-1].line if pairs else 1}"
        raise DataError(f"{path}, {line}: the file ends after {len(pairs)} pairs; expected {FOLDS} folds of equal size")
    n = len(pairs) // FOLDS
    for fold in (pairs[i : i + n] for i in range(0, len(pairs), n)):
        genuine = sum(pair.same for pair in fold)
        if 2 * genuine != n:
            where = f"lines {fold[0].line} to {fold[-1].line}"
            raise DataError(f"{path}, {where}: {genuine} of {n} pairs are genuine; expected half of every fold")
    return pairs


def photo_of(name: str, number: str) -> str:
    return f"{name}/{name}_{number:0>4}.jpg"


def read_landmarks(path: Path) -> dict[str, Points]:
    """Photo, as in RfwImage -> landmarks. Raises DataError, naming the line at fault."""
    landmarks = {}
    for number, line in read_lines(path):
        photo, *numbers = line.split()
        try:
            points = tuple(float(field) for field in numbers[1:])
        except ValueError:
            points = ()
        distinct = set(zip(points[::2], points[1::2], strict=False))
        if len(points) != 10 or not (np.abs(points) < FARTHEST).all() or len(distinct) < 5:
            raise DataError(f"{path}, line {number}: expected a path, a label and five points; got {line[:60]!r}")
        landmarks["/".join(photo.split("/")[-2:])] = points
    return landmarks


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Number, from 1, and text of the lines that are not blank. Raises DataError when the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: not readable ({problem}); --source is RFW's folder that holds `test`") from problem
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
