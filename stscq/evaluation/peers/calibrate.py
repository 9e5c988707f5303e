"""Choose the operating points of a classic codec, by people who are tested in no seed.

python -m stscq.evaluation.peers.calibrate --store data/demo/faces --splits data/demo/splits --seeds '[1, 2, 3]'
    --judge dlib --codec webp --out data/demo/peers/webp/calibration

Every colour, side and quality is tried on a few faces. Kept is, in grey and in colour, what serves the judge best (IDS)
in files of at most each size of TARGETS: of faces that are never tested, so this favours the codec, and nobody else.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.errors import DataError, PeerError
from stscq.evaluation.judging import centred_cosine
from stscq.evaluation.peers.codecs import codec_of
from stscq.evaluation.peers.point import Colour, Point, decode_face, encode_face
from stscq.evaluation.quality import psnr
from stscq.files import write_atomically
from stscq.recognition.base import Recogniser
from stscq.recognition.load import load_recogniser

TARGETS = (16, 24, 35, 50, 70, 100, 140, 200, 300, 500, 800)
"""Bytes of a whole file. 16 to 200 is where ours lie; above, a line goes on only until the person is recognised."""
STEP = 1.15
"""A point that costs less than this times the one before it is left out."""
ENOUGH = 0.8
"""Centred IDS at which a line ends: no codec of ours comes near it at these sizes."""
FACES = 32
"""Tried of each candidate, from as many people as there are."""
SMALLEST_SIDE = 8
"""Pixels: below, no face is left."""


class Calibration:
    """Some faces (N x S x S x 3 uint8) and what a recogniser says of them; measures candidates."""

    def __init__(self, codec: str, faces: np.ndarray, recogniser: Recogniser):
        self.codec, self.faces, self.recogniser = codec, faces, recogniser
        self.embeddings = recogniser.embed(faces)

    def measure(self, point: Point) -> dict[str, Any]:
        """Means over the faces: bytes of a file, PSNR (dB) and centred IDS; NaN, with the reason, when it cannot."""
        unknown = {**point._asdict(), "bytes": np.nan, "psnr": np.nan, "ids_centred": np.nan}
        try:
            files = [encode_face(self.codec, point, face) for face in self.faces]
            size = float(np.mean([len(file) for file in files]))
            if size > TARGETS[-1]:
                return {**unknown, "bytes": size, "problem": f"not decoded: more than {TARGETS[-1]} bytes"}
            decoded = np.stack([decode_face(self.codec, file, self.faces.shape[1]) for file in files])
        except PeerError as problem:
            return {**unknown, "problem": str(problem)}
        similarity = centred_cosine(self.embeddings, self.recogniser.embed(decoded), self.embeddings.mean(0))
        found = {"bytes": size, "psnr": float(psnr(self.faces, decoded).mean())}
        return {**point._asdict(), **found, "ids_centred": float(similarity.mean()), "problem": ""}


def main(store: Path, splits: Path, seeds: str, judge: str, codec: str, out: Path) -> None:
    """Writes OUT/candidates.parquet (a row for each colour, side and quality) and OUT/points.json (those kept).

    SPLITS holds seedN/index.parquet for each of SEEDS (JSON); the faces are of people who train in all of them.
    """
    rows = rows_that_always_train([splits / f"seed{seed}" / "index.parquet" for seed in json.loads(seeds)])
    faces = open_store(store).images[rows[np.linspace(0, len(rows) - 1, min(FACES, len(rows))).round().astype(int)]]
    calibration = Calibration(codec, faces, load_recogniser(judge))
    tried = pd.DataFrame(calibration.measure(point) for point in candidates(codec, faces))
    if tried.bytes.isna().all():
        raise PeerError(f"{codec} encodes no picture of these faces: {tried.problem.iloc[0]}")
    out.mkdir(parents=True, exist_ok=True)
    tried.to_parquet(out / "candidates.parquet")
    points = {
        "codec": codec,
        "encoder": codec_of(codec).version(),
        "faces": len(faces),
        "size": faces.shape[1],
        **smallest(tried),
        "points": [point for _, line in tried.groupby("colour", sort=False) for point in choose(line)],
    }
    write_atomically(out / "points.json", json.dumps(points, indent=2) + "\n")


def rows_that_always_train(indices: Sequence[Path]) -> np.ndarray:
    """Rows of the store. Raises DataError when everybody is tested in some seed."""
    splits = [pd.read_parquet(path).split for path in indices]
    rows = np.flatnonzero(np.logical_and.reduce([split == "train" for split in splits]))
    if not len(rows):
        raise DataError(
            f"{indices[0].parent.parent}: everybody is tested in some seed, so nobody is left to choose the peers' "
            "operating points by; name some data.val_people in params.yaml, or set peers: []"
        )
    return rows


def candidates(codec: str, faces: np.ndarray) -> Iterator[Point]:
    """Every colour (grey alone, where all faces are), side and quality, the smallest files first within a side."""
    grey = bool((faces == faces[..., :1]).all())
    for colour in get_args(Colour)[: 1 if grey else None]:
        for side in sides(faces.shape[1]):
            yield from (Point(colour, side, quality) for quality in codec_of(codec).qualities)


def sides(S: int) -> list[int]:
    """S, 3/4 S, 1/2 S, 3/8 S and so on, as far as they are whole: 64, 48, 32, 24, 16, 12, 8."""
    halvings = [2**n for n in range(S.bit_length())]
    found = {S // n for n in halvings if S % n == 0} | {3 * S // (4 * n) for n in halvings if 3 * S % (4 * n) == 0}
    return sorted((side for side in found if side >= SMALLEST_SIDE), reverse=True)


def choose(line: pd.DataFrame) -> list[dict[str, Any]]:
    """Of the candidates of one colour, the best (centred IDS) in at most each of TARGETS bytes, in order of size.

    Left out are those that cost less than STEP times as much as the one before, or come after ENOUGH.
    """
    kept = ["colour", "side", "quality", "bytes", "psnr", "ids_centred"]
    best_first = line.dropna(subset="ids_centred").sort_values("ids_centred", ascending=False, kind="stable")
    tried = [{key: one[key] for key in kept} for one in best_first.to_dict("records")]
    found: list[dict[str, Any]] = []
    for target in TARGETS:
        if found and found[-1]["ids_centred"] >= ENOUGH:
            break
        best = next((one for one in tried if one["bytes"] <= target), None)
        if best and (not found or best["bytes"] >= STEP * found[-1]["bytes"]):
            found.append(best)
    return found


def smallest(tried: pd.DataFrame) -> dict[str, Any]:
    """Mean bytes below which the codec cannot go: with any picture, and (or None) at full size."""
    rows = tried.dropna(subset="bytes").sort_values("bytes", kind="stable").to_dict("records")
    full = [one["bytes"] for one in rows if one["side"] == tried.side.max()]
    return {
        "smallest_bytes": rows[0]["bytes"],
        "smallest_at": Point(rows[0]["colour"], rows[0]["side"], rows[0]["quality"]).name,
        "smallest_bytes_full_size": full[0] if full else None,
    }


if __name__ == "__main__":
    run(main)
