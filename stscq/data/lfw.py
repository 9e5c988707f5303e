"""Labeled Faces in the Wild, funneled: lfw_funneled/NAME/NAME_0001.jpg and pairs.txt, as scikit-learn's fetcher leaves
them (a folder lfw_home).

Every picture is centred on a face that a detector found, whose box is the picture's 250 pixels divided by 2.2. So the
landmarks of the face that the picture is of are looked for in that box, and nobody in the background is taken instead.
"""

from pathlib import Path
from typing import NamedTuple

import dlib
import numpy as np
import pandas as pd

from stscq.data.align import crop
from stscq.data.folder import read_photo
from stscq.data.pairs import pair_table
from stscq.data.store import Row
from stscq.errors import DataError

BOX = 114
"""Pixels of the side of the square around the centre that holds the face; pictures cut closer keep their centre."""
PICTURES = "lfw_funneled"


class LFWPicture(NamedTuple):
    """One picture, for stscq.data.convert. number: of the person's pictures, from 1."""

    home: Path
    person: str
    number: int

    @property
    def image_id(self) -> str:
        return f"{self.person}/{self.number}"

    @property
    def source(self) -> str:
        return f"{PICTURES}/{self.person}/{self.person}_{self.number:04}.jpg"

    @property
    def row(self) -> Row:
        return Row(self.image_id, self.person, self.source)

    def image(self, size: int) -> np.ndarray:
        photo = read_photo(self.home / self.source)
        return crop(photo, centred_box(photo), size)


def centred_box(photo: np.ndarray) -> dlib.rectangle:
    """The square of BOX pixels in the middle of a picture (H x W x 3). Raises DataError when that is smaller."""
    height, width = photo.shape[:2]
    left, top = (width - BOX) // 2, (height - BOX) // 2
    if left < 0 or top < 0:
        raise DataError(f"{width} x {height} pixels; LFW's pictures have 250 x 250, cut ones at least {BOX} x {BOX}")
    return dlib.rectangle(left, top, left + BOX, top + BOX)


def list_lfw(home: Path) -> list[LFWPicture]:
    """All pictures, by person and number. Raises DataError when there are none, or when one has another name."""
    folder = home / PICTURES
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected {home}/{PICTURES}/NAME/NAME_0001.jpg and {home}/pairs.txt")
    pictures = []
    for file in sorted(folder.glob("*/*.jpg")):
        person, number = file.parent.name, file.stem.rpartition("_")[2]
        picture = LFWPicture(home, person, int(number) if number.isascii() and number.isdigit() else 0)
        if home / picture.source != file:
            raise DataError(f"{file}: not named as LFW's pictures are ({person}_0001.jpg and so on)")
        pictures.append(picture)
    if not pictures:
        raise DataError(f"{folder}: no pictures; expected NAME/NAME_0001.jpg")
    return pictures


def read_pairs(home: Path, pictures: list[LFWPicture]) -> pd.DataFrame:
    """The official pairs of View 2 by row of `pictures`: a, b, same, fold (0 .. 9).

    pairs.txt: folds and pairs of each kind a fold in the first line; then fold by fold the genuine pairs (name, number,
    number) and as many impostor pairs (name, number, name, number). Raises DataError, with the line, when the file is
    not so, or when a picture that it names is not there.
    """
    path = home / "pairs.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        folds, each = (int(word) for word in lines[0].split())
    except (OSError, ValueError, IndexError) as problem:
        raise DataError(f"{path}: not LFW's pairs.txt ({problem}); its first line has two numbers") from problem
    if len(lines) != 1 + folds * 2 * each:
        raise DataError(f"{path}: {len(lines) - 1} pairs, expected {folds} x 2 x {each} as its first line says")
    row = {(picture.person, picture.number): number for number, picture in enumerate(pictures)}
    a: list[int] = []
    b: list[int] = []
    same, fold = [], []
    for line, text in enumerate(lines[1:], 2):
        words = text.split("\t")
        genuine = (line - 2) // each % 2 == 0
        if len(words) != (3 if genuine else 4):
            raise DataError(f"{path}, line {line}: {text!r} is no {'genuine' if genuine else 'impostor'} pair")
        for place, (name, number) in ((a, words[:2]), (b, (words[0], words[2]) if genuine else words[2:])):
            try:
                place.append(row[name, int(number)])
            except (KeyError, ValueError):
                raise DataError(f"{path}, line {line}: there is no picture {number} of {name}") from None
        if a[-1] == b[-1] or (not genuine and words[0] == words[2]):
            raise DataError(f"{path}, line {line}: {text!r} is no {'genuine' if genuine else 'impostor'} pair")
        same.append(genuine)
        fold.append((line - 2) // (2 * each))
    return pair_table(a, b, same, fold)
