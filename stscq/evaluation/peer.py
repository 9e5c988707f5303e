"""Evaluate a classic codec on the faces of one set: files, reconstructions, verification, quality, at several rates.

python -m stscq.evaluation.peer --store data/demo/faces --original ... --judge dlib --codec webp
    --points data/demo/peers/webp/calibration --out data/demo/peers/webp/test/seed1
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.errors import DataError
from stscq.evaluation.judging import judge_codec, open_image_set
from stscq.evaluation.peers.point import Point, decode_face, encode_face
from stscq.files import write_atomically


def main(store: Path, original: Path, judge: str, codec: str, points: Path, out: Path) -> None:
    """Writes OUT/metrics.json (a list of operating points), images.parquet and pairs.parquet.

    POINTS is what stscq.evaluation.peers.calibrate wrote. In both tables `selection` names the operating point, as
    Point.name has it, and images.parquet has `file_bytes` of each face. ORIGINAL is the evaluation of the uncompressed
    images, which says which pairs are compared.
    """
    faces = open_image_set(store, original, judge)
    calibrated = read_points(points, codec, faces.size)

    def decoded(files: Sequence[bytes]) -> np.ndarray:
        return np.stack([decode_face(codec, file, faces.size) for file in files])

    per_image, per_pair, summary = [], [], []
    for point in (Point(one["colour"], one["scale"], one["quality"]) for one in calibrated["points"]):
        files = [encode_face(codec, point, image) for image in faces.images[faces.rows]]
        judged = judge_codec(faces, decoded, files)
        sizes = [len(file) for file in files]
        per_image.append(judged.images.assign(file_bytes=sizes, selection=point.name))
        per_pair.append(judged.pairs.assign(selection=point.name))
        rate = {"file_bytes": float(np.mean(sizes)), "bpp": 8 * float(np.mean(sizes)) / faces.size**2}
        summary.append({"name": point.name, **point._asdict(), **rate, **judged.measured})
    out.mkdir(parents=True, exist_ok=True)
    pd.concat(per_image, ignore_index=True).to_parquet(out / "images.parquet")
    pd.concat(per_pair, ignore_index=True).to_parquet(out / "pairs.parquet")
    metrics = {**calibrated, "images": len(faces.rows), "pixels": faces.size**2, "points": summary}
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def read_points(folder: Path, codec: str, S: int) -> dict[str, Any]:
    """points.json. Raises DataError when it is missing, or is of another codec or size of faces."""
    file = folder / "points.json"
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise DataError(f"{file}: not readable ({problem}); run the rule calibrate_peer") from problem
    if (found["codec"], found["size"]) != (codec, S):
        raise DataError(
            f"{file}: of {found['codec']} and faces of {found['size']} pixels, not of {codec} and {S}; run the rule "
            "calibrate_peer again"
        )
    return found


if __name__ == "__main__":
    run(main)
