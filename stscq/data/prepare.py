"""Make the image store: aligned faces of the Database of Faces, of your own folder of people, or of InsightFace's sets.

python -m stscq.data.prepare --source orl --size 64 --out data/demo/faces
python -m stscq.data.prepare --source people/ --size 64 --out data/mine/faces
python -m stscq.data.prepare --source casia/ --size 256 --out data/casia/faces --workers 16
python -m stscq.data.prepare --source lfw.bin --size 256 --out data/lfw/faces --workers 16
"""

from pathlib import Path

from stscq.cli_tools import run
from stscq.data.convert import convert
from stscq.data.folder import list_photos, read_folder
from stscq.data.orl import IMAGES, PEOPLE, orl_folder, read_orl
from stscq.data.recordio import open_training_set
from stscq.data.store import write_store
from stscq.data.verification_pack import entries, pairs, read_pack


def main(source: str, size: int, out: Path, most_corrupt: int = 0, workers: int = 1) -> None:
    """SOURCE is `orl`, a folder with train.rec and train.idx, a verification pack (.bin), or a folder of people.

    WORKERS processes read a train.rec, whose faces are aligned; up to MOST_CORRUPT damaged records are left out. A pack
    must be whole; its pairs, in ten folds, are written to OUT/pairs.parquet.
    """
    if source == "orl":
        write_store(read_orl(orl_folder(), size), out, total=PEOPLE * IMAGES)
    elif (Path(source) / "train.rec").is_file():
        left_out = convert(open_training_set(Path(source)), out, size, most_corrupt, workers)
        print(f"{out}: {left_out} corrupt images were left out")
    elif source.endswith(".bin"):
        pack = read_pack(Path(source))
        convert(entries(pack, Path(source).name), out, size, most_corrupt=0, workers=workers)
        pairs(pack, folds=10).to_parquet(out / "pairs.parquet")
    else:
        write_store(read_folder(Path(source), size), out, total=len(list_photos(Path(source))))


if __name__ == "__main__":
    run(main)
