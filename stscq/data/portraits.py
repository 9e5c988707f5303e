"""Faces whose pictures anybody may pass on, to be shown where those of the test people may not be.

python -m stscq.data.portraits --size 64 --out data/lfw/portraits

Eileen Collins, from scikit-image (NASA, public domain), in colour, and people of the Database of Faces, in grey.
"""

from collections.abc import Iterator
from pathlib import Path

from stscq.cli_tools import run
from stscq.data.align import detect_and_crop
from stscq.data.orl import orl_folder, read_orl
from stscq.data.store import Face, Row, write_store

PEOPLE = ("s1", "s3", "s8", "s10", "s17", "s32", "s35")
"""Of the Database of Faces: women and men, with and without glasses and beard. The first picture of each is shown."""


def main(size: int, out: Path) -> None:
    """Writes the store OUT, of SIZE x SIZE pixels."""
    write_store(portraits(size), out)


def portraits(size: int) -> Iterator[Face]:
    """Aligned, one a person."""
    from skimage import data  # imported here: nobody else in this room needs it

    yield Face(Row("astronaut", "astronaut", "astronaut.png"), detect_and_crop(data.astronaut(), size))
    yield from (face for face in read_orl(orl_folder(), size) if face.row.image_id in {f"{s}/1" for s in PEOPLE})


if __name__ == "__main__":
    run(main)
