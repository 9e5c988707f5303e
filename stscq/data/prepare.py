"""Make the image store: aligned faces of the Database of Faces, or of your own folder of people.

python -m stscq.data.prepare --source orl --size 64 --out data/demo/faces
python -m stscq.data.prepare --source people/ --size 64 --out data/mine/faces
"""

from pathlib import Path

from stscq.cli_tools import run
from stscq.data.folder import list_photos, read_folder
from stscq.data.orl import IMAGES, PEOPLE, orl_folder, read_orl
from stscq.data.store import write_store


def main(source: str, size: int, out: Path) -> None:
    """SOURCE is `orl` or a folder with one subfolder a person."""
    if source == "orl":
        write_store(read_orl(orl_folder(), size), out, total=PEOPLE * IMAGES)
    else:
        write_store(read_folder(Path(source), size), out, total=len(list_photos(Path(source))))


if __name__ == "__main__":
    run(main)
