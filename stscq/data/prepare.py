"""Make the image store: aligned faces, or pictures of anything, from the sets that people have.

python -m stscq.data.prepare --source orl --size 64 --out data/demo/faces
python -m stscq.data.prepare --source people/ --size 64 --out data/mine/faces
python -m stscq.data.prepare --source casia/ --size 256 --out data/casia/faces --workers 16
python -m stscq.data.prepare --source lfw.bin --size 256 --out data/lfw/faces --workers 16
python -m stscq.data.prepare --kind rfw --group Asian --source RFW/ --size 256 --out data/rfw_asian/faces --workers 16
python -m stscq.data.prepare --kind lfw --source lfw_home/ --size 64 --out data/lfw/faces
python -m stscq.data.prepare --kind utkface --source utkface/ --size 64 --most-corrupt 1000 --out data/pretrain/faces
python -m stscq.data.prepare --kind images --source imagenet/val/ --size 256 --out data/imagenet/faces --workers 16
"""

from pathlib import Path
from typing import Literal

from stscq.cli_tools import run
from stscq.data.convert import convert
from stscq.data.folder import list_photos
from stscq.data.images import list_images
from stscq.data.lfw import list_lfw, read_pairs
from stscq.data.orl import IMAGES, PEOPLE, orl_folder, read_orl
from stscq.data.pairs import pair_table, write_pairs
from stscq.data.recordio import open_training_set
from stscq.data.rfw import Group, open_group
from stscq.data.store import write_store
from stscq.data.utkface import list_utkface
from stscq.data.verification_pack import pack_images, pairs, read_pack
from stscq.errors import ParamsError

Kind = Literal["auto", "recordio", "pack", "rfw", "images", "utkface", "lfw"]


def main(
    source: str,
    size: int,
    out: Path,
    most_corrupt: int = 0,
    workers: int = 1,
    kind: Kind = "auto",
    group: Group | None = None,
) -> None:
    """Write the store OUT, of SIZE x SIZE pixels.

    By KIND, SOURCE is a folder with train.rec and train.idx (recordio), a verification pack (pack), the folder of RFW,
    of which GROUP is read (rfw), a folder of pictures of anything, by class or not (images), UTKFace's (utkface) or
    LFW's (lfw). auto tells a train.rec, a file .bin, LFW, the word `orl` and a folder of people, whose
    faces are detected.

    WORKERS processes read all kinds but ORL. Up to MOST_CORRUPT images that are damaged (recordio, images) or show no
    face to align (people, utkface) are left out, and named; pack, rfw and lfw must be whole. Their pairs, in ten
    folds, are written to OUT/pairs.parquet (images, utkface: no rows).
    """
    if (kind == "rfw") != (group is not None):
        raise ParamsError(f"kind {kind}, group {group}: RFW needs one of its four groups, and no other kind has groups")
    (out / "pairs.parquet").unlink(missing_ok=True)  # those of another set, or of a run before this one
    match sniff(source) if kind == "auto" else kind:
        case "orl":
            write_store(read_orl(orl_folder(), size), out, total=PEOPLE * IMAGES)
        case "people":
            report(convert(list_photos(Path(source)), out, size, most_corrupt, workers), out)
        case "recordio":
            report(convert(open_training_set(Path(source)), out, size, most_corrupt, workers), out)
        case "pack":
            pack = read_pack(Path(source))
            table = pairs(pack, folds=10)
            convert(pack_images(pack, Path(source).name), out, size, most_corrupt=0, workers=workers)
            write_pairs(table, out)
        case "rfw":
            assert group is not None
            photos, table = open_group(Path(source), group)
            convert(photos, out, size, most_corrupt=0, workers=workers)
            write_pairs(table, out)
        case "images":
            report(convert(list_images(Path(source)), out, size, most_corrupt, workers), out)
            write_pairs(pair_table([], [], [], []), out)
        case "lfw":
            pictures = list_lfw(Path(source))
            table = read_pairs(Path(source), pictures)
            convert(pictures, out, size, most_corrupt=0, workers=workers)
            write_pairs(table, out)
        case "utkface":
            found, unnamed = list_utkface(Path(source))
            left_out = convert(found, out, size, most_corrupt, workers)
            report([*(f"{name}: its name does not say age, gender and race" for name in unnamed), *left_out], out)
            write_pairs(pair_table([], [], [], []), out)


def sniff(source: str) -> str:
    if source == "orl":
        return "orl"
    if (Path(source) / "train.rec").is_file():
        return "recordio"
    if (Path(source) / "lfw_funneled").is_dir():
        return "lfw"
    return "pack" if source.endswith(".bin") else "people"


def report(left_out: list[str], out: Path) -> None:
    print(f"{out}: {len(left_out)} unusable images were left out", *left_out, sep="\n")


if __name__ == "__main__":
    run(main)
