"""Evaluate a classic codec on the faces of one set: files, reconstructions, verification, quality, at several rates.

python -m stscq.evaluation.peer --store data/demo/faces --originals data/demo/evaluation/original/test
    --seeds '[1, 2, 3]' --judge dlib --codec webp --points data/demo/peers/webp/calibration
    --out data/demo/peers/webp/test

A classic codec is not trained, so that an image is the same in all seeds: it is coded once for all of them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.errors import DataError
from stscq.evaluation.judging import ImageSet, batches, by_protocol, by_row, centred_cosine, cosine, open_image_set
from stscq.evaluation.peers.point import Point, decode_face, encode_face
from stscq.evaluation.quality import psnr
from stscq.evaluation.verification import judge_pairs
from stscq.files import write_atomically
from stscq.recognition.base import Recogniser
from stscq.recognition.load import load_recogniser


def main(store: Path, originals: Path, seeds: str, judge: str, codec: str, points: Path, out: Path) -> None:
    """Writes OUT/metrics.json (`points`: one an operating point and seed), images.parquet and pairs.parquet.

    POINTS is what stscq.evaluation.peers.calibrate wrote. In both tables `selection` names the operating point, as
    Point.name has it, and images.parquet has `file_bytes` of each face. ORIGINALS/seedN, for each of SEEDS (JSON), is
    the evaluation of the uncompressed images, which says which pairs are compared.
    """
    tested = {seed: open_image_set(store, originals / f"seed{seed}", judge) for seed in json.loads(seeds)}
    images = next(iter(tested.values())).images
    rows = np.unique(np.concatenate([faces.rows for faces in tested.values()]))
    calibrated = read_points(points, codec, images.shape[1])
    recogniser = load_recogniser(judge)
    per_image, per_pair, summary = [], [], []
    for point in (Point(one["colour"], one["side"], one["quality"]) for one in calibrated["points"]):
        coded, embeddings = code(codec, point, images, rows, recogniser)
        for seed, faces in tested.items():
            where = {"seed": seed, "selection": point.name}
            frame, pairs, measured = judge_point(faces, coded, embeddings)
            per_image.append(frame.assign(**where))
            per_pair.append(pairs.assign(**where))
            summary.append({"seed": seed, "name": point.name, **point._asdict(), **measured})
    out.mkdir(parents=True, exist_ok=True)
    pd.concat(per_image, ignore_index=True).to_parquet(out / "images.parquet")
    pd.concat(per_pair, ignore_index=True).to_parquet(out / "pairs.parquet")
    metrics = {**calibrated, "images": len(rows), "pixels": images.shape[1] ** 2, "points": summary}
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def code(
    codec: str, point: Point, images: np.ndarray, rows: np.ndarray, recogniser: Recogniser
) -> tuple[pd.DataFrame, np.ndarray]:
    """Encode and decode images[rows]. A row an image: row, file_bytes, psnr; embeddings by row of the store."""
    frames, embeddings = [], []
    for part in batches(len(rows)):
        faces = images[rows[part]]
        files = [encode_face(codec, point, face) for face in faces]
        decoded = np.stack([decode_face(codec, file, images.shape[1]) for file in files])
        sizes = [len(file) for file in files]
        frames.append(pd.DataFrame({"row": rows[part], "file_bytes": sizes, "psnr": psnr(faces, decoded)}))
        embeddings.append(recogniser.embed(decoded))
    return pd.concat(frames, ignore_index=True), by_row(np.concatenate(embeddings), rows, len(images))


def judge_point(
    faces: ImageSet, coded: pd.DataFrame, embeddings: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame, Mapping[str, Any]]:
    """The images and pairs that one seed tests, and what was measured of them; `coded`, `embeddings`: see `code`."""
    judge, own = faces.judge, embeddings[faces.rows]
    assert judge is not None  # of the uncompressed images of faces there always is
    frame = coded.set_index("row").loc[faces.rows].reset_index()
    similarity = {
        "ids": cosine(judge.originals, own),
        "ids_centred": centred_cosine(judge.originals, own, judge.centre),
    }
    frame = frame.assign(identity=faces.identity, **similarity)
    pairs = judge_pairs(embeddings, faces.pairs)
    protocols = by_protocol(pairs, frame)
    means = {name: float(frame[name].mean()) for name in ("file_bytes", "ids", "ids_centred", "psnr")}
    mean_acc = protocols[faces.pairs.protocol.iloc[0]]["mean_acc"]
    bpp = 8 * means["file_bytes"] / faces.size**2
    return frame, pairs, {"bpp": bpp, "mean_acc": mean_acc, **means, "protocols": protocols}


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
