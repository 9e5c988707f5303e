"""UTKFace, "aligned & cropped": one folder of AGE_GENDER_RACE_TIME.jpg.chip.jpg, 200 x 200 pixels a face.

It says nothing about identities: everybody counts as somebody else. Research use only, say its authors.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stscq.data.align import detect_and_crop
from stscq.data.folder import read_photo
from stscq.errors import DataError

NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_(\d+)\.jpg\.chip\.jpg")
GENDERS = ("man", "woman")
RACES = ("White", "Black", "Asian", "Indian", "Other")


class UTKRow(NamedTuple):
    """What the index says of a face. group: race and gender, for fairness; age in years."""

    image_id: str
    identity: str
    source: str
    group: str
    age: int
    gender: str
    race: str


class UTKFace(NamedTuple):
    """One face, for stscq.data.convert."""

    folder: Path
    name: str

    @property
    def row(self) -> UTKRow:
        found = NAME.fullmatch(self.name)
        assert found is not None  # list_utkface looked at it
        gender, race = GENDERS[int(found[2])], RACES[int(found[3])]
        image_id = self.name.removesuffix(".jpg.chip.jpg")
        return UTKRow(image_id, image_id, self.name, f"{race} {gender}", int(found[1]), gender, race)

    def image(self, size: int) -> np.ndarray:
        return detect_and_crop(read_photo(self.folder / self.name), size)


def list_utkface(folder: Path) -> tuple[list[UTKFace], list[str]]:
    """The faces of a folder, by name, and the names of .jpg files that do not say age, gender and race.

    Raises DataError when the folder is missing, or holds no such file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; UTKFace's authors offer it as one archive, see docs/pretraining.md")
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() == ".jpg")
    faces = [UTKFace(folder, name) for name in names if NAME.fullmatch(name)]
    if not faces:
        raise DataError(f"{folder}: no AGE_GENDER_RACE_TIME.jpg.chip.jpg in it; is it UTKFace's folder?")
    return faces, [name for name in names if not NAME.fullmatch(name)]
