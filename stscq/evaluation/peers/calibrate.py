"""Choose the operating points of a classic codec, by people who are tested in no seed.

python -m stscq.evaluation.peers.calibrate --store data/demo/faces --splits data/demo/splits --seeds '[1, 2, 3]'
    --codec webp --out data/demo/peers/webp/calibration

Every colour, scale and quality is tried on a few faces. Kept is the smallest file that reaches each PSNR of LADDER;
no recogniser takes part, and no tested face. A point that costs less than STEP more than the one before it is left out.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.errors import DataError, PeerError
from stscq.evaluation.peers.codecs import codec_of
from stscq.evaluation.peers.point import Colour, Point, decode_face, encode_face
from stscq.evaluation.quality import psnr
from stscq.files import write_atomically

LADDER = (18.0, 20.0, 22.0, 24.0, 26.0, 28.0)
"""dB, two apart: from hardly a face to where verification no longer suffers."""
STEP = 1.15
FACES = 12
"""Tried of each candidate, from as many people as there are."""
SMALLEST_SIDE = 8
"""Pixels: below, no face is left."""


def main(store: Path, splits: Path, seeds: str, codec: str, out: Path) -> None:
    """Writes OUT/candidates.parquet (a row for each colour, scale and quality) and OUT/points.json (those kept).

    SPLITS holds seedN/index.parquet for each of SEEDS (JSON); the faces are of people who train in all of them.
    """
    rows = rows_that_always_train([splits / f"seed{seed}" / "index.parquet" for seed in json.loads(seeds)])
    faces = open_store(store).images[rows[np.linspace(0, len(rows) - 1, min(FACES, len(rows))).round().astype(int)]]
    tried = pd.DataFrame(measure(codec, point, faces) for point in candidates(codec, faces.shape[1]))
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
        "points": choose(tried),
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


def candidates(codec: str, S: int) -> Iterator[Point]:
    """Every colour, halving of the side and quality, the smallest files first within a scale."""
    scales = [2**n for n in range(S.bit_length()) if S % 2**n == 0 and S >> n >= SMALLEST_SIDE]
    yield from (Point(*one) for one in product(get_args(Colour), scales, codec_of(codec).qualities))


def measure(codec: str, point: Point, faces: np.ndarray) -> dict[str, Any]:
    """Mean bytes of a file and mean PSNR (dB) of these faces (N x S x S x 3); NaN and the reason when it cannot."""
    try:
        files = [encode_face(codec, point, face) for face in faces]
        decoded = np.stack([decode_face(codec, file, faces.shape[1]) for file in files])
    except PeerError as problem:
        return {**point._asdict(), "bytes": np.nan, "psnr": np.nan, "problem": str(problem)}
    size = float(np.mean([len(file) for file in files]))
    return {**point._asdict(), "bytes": size, "psnr": float(psnr(faces, decoded).mean()), "problem": ""}


def choose(tried: pd.DataFrame) -> list[dict[str, Any]]:
    """The cheapest candidate that reaches each PSNR of LADDER, in order of size, at least STEP apart in size."""
    found: list[dict[str, Any]] = []
    cheapest_first = tried.dropna(subset="bytes").sort_values("bytes", kind="stable").to_dict("records")
    for target in LADDER:
        best = next((one for one in cheapest_first if one["psnr"] >= target), None)
        if best and (not found or best["bytes"] >= STEP * found[-1]["bytes"]):
            found.append({key: best[key] for key in ("colour", "scale", "quality", "bytes", "psnr")})
    return found


def smallest(tried: pd.DataFrame) -> dict[str, Any]:
    """Mean bytes below which the codec cannot go: at any size of the picture, and (or None) at full size."""
    rows = tried.dropna(subset="bytes").sort_values("bytes", kind="stable").to_dict("records")
    full = [one["bytes"] for one in rows if one["scale"] == 1]
    return {
        "smallest_bytes": rows[0]["bytes"],
        "smallest_at": Point(rows[0]["colour"], rows[0]["scale"], rows[0]["quality"]).name,
        "smallest_bytes_full_size": full[0] if full else None,
    }


if __name__ == "__main__":
    run(main)
