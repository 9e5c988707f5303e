"""Evaluate a classic codec on the faces of one set: files, reconstructions, verification, quality, at several rates.

python -m stscq.evaluation.peer --store data/demo/faces --pairs ... --original ... --judge dlib --codec webp
    --points data/demo/peers/webp/calibration --out data/demo/peers/webp/test/seed1
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.errors import DataError
from stscq.evaluation.evaluate import PER_IMAGE, by_row, compare, load_judge
from stscq.evaluation.peers.point import Point, decode_face, encode_face
from stscq.evaluation.verification import accuracy, verify
from stscq.files import write_atomically


def main(store: Path, pairs: Path, original: Path, judge: str, codec: str, points: Path, out: Path) -> None:
    """Writes OUT/metrics.json (a list of operating points), images.parquet and pairs.parquet.

    POINTS is what stscq.evaluation.peers.calibrate wrote. In both tables `selection` names the operating point, as
    Point.name has it, and images.parquet has `file_bytes` of each face. ORIGINAL is the evaluation of the uncompressed
    images of the same pairs.
    """
    images, index = open_store(store)
    test_pairs = pd.read_parquet(pairs)
    rows = np.unique(test_pairs[["a", "b"]])
    S = images.shape[1]
    chosen = read_points(points, codec, S)
    by = load_judge(judge, original)

    def decoded(files: Sequence[bytes]) -> np.ndarray:
        return np.stack([decode_face(codec, file, S) for file in files])

    per_image, per_pair, summary = [], [], []
    for point in (Point(one["colour"], one["scale"], one["quality"]) for one in chosen["points"]):
        files = [encode_face(codec, point, image) for image in images[rows]]
        frame, embeddings = compare(decoded, images, rows, files, by, None, None)
        judged = verify(by_row(embeddings, rows, len(images)), test_pairs)
        frame = frame.assign(row=rows, identity=index.identity.to_numpy()[rows], file_bytes=[len(f) for f in files])
        per_image.append(frame.assign(selection=point.name))
        per_pair.append(judged.assign(selection=point.name))
        summary.append(measured(point, frame, 100 * accuracy(judged), S * S))
    out.mkdir(parents=True, exist_ok=True)
    pd.concat(per_image, ignore_index=True).to_parquet(out / "images.parquet")
    pd.concat(per_pair, ignore_index=True).to_parquet(out / "pairs.parquet")
    metrics = {**chosen, "images": len(rows), "pixels": S * S, "points": summary}
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


def measured(point: Point, frame: pd.DataFrame, mean_acc: float, pixels: int) -> dict[str, Any]:
    """One operating point of metrics.json. file_bytes: mean file, header included; bpp: of the face's own pixels."""
    size = float(frame.file_bytes.mean())
    return {
        "name": point.name,
        **point._asdict(),
        "file_bytes": size,
        "bpp": 8 * size / pixels,
        "mean_acc": mean_acc,
        **{name: float(frame[name].mean()) for name in PER_IMAGE if name in frame},
    }


if __name__ == "__main__":
    run(main)
