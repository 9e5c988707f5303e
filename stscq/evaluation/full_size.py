"""Verification of the uncompressed pictures at the size that the judge sees, instead of the store's: LFW alone.

python -m stscq.evaluation.full_size --source datasets/lfw_home --store data/lfw/faces
    --originals data/lfw/evaluation/original/test --seeds '[1, 2, 3]' --judge dlib --out data/lfw/full_size

What the store's 64 pixels cost before any codec does: the same pairs, cut out of the same pictures by the same
landmarks.
"""

import json
from pathlib import Path

import numpy as np

from stscq.cli_tools import run
from stscq.data.align import CHIP
from stscq.data.lfw import LFWPicture, list_lfw
from stscq.data.store import open_store
from stscq.errors import DataError
from stscq.evaluation.judging import batches, by_row, pairs_of
from stscq.evaluation.verification import accuracies, judge_pairs
from stscq.files import write_atomically
from stscq.recognition.load import load_recogniser


def main(source: Path, store: Path, originals: Path, seeds: str, judge: str, out: Path) -> None:
    """Writes OUT/metrics.json: pixels, images, and for each of SEEDS (JSON) mean_acc and the number of pairs.

    SOURCE: the folder that STORE was made of. ORIGINALS/seedN: the evaluation of the images in the store, which says
    which pairs are compared. Raises DataError when SOURCE is not LFW, or lacks a picture of the store.
    """
    pictures = {picture.image_id: picture for picture in list_lfw(source)}
    index = open_store(store).index
    pairs = {seed: pairs_of(originals / f"seed{seed}") for seed in json.loads(seeds)}
    rows = np.unique(np.concatenate([frame[["a", "b"]].to_numpy().ravel() for frame in pairs.values()]))
    recogniser = load_recogniser(judge)
    parts = []
    for part in batches(len(rows)):
        faces = [picture_of(pictures, name, source).image(CHIP) for name in index.image_id[rows[part]]]
        parts.append(recogniser.embed(np.stack(faces)))
    table = by_row(np.concatenate(parts), rows, len(index))
    judged = {seed: judge_pairs(table, frame) for seed, frame in pairs.items()}
    by_seed = {
        seed: {"mean_acc": accuracies(frame)[frame.protocol.iloc[0]], "pairs": len(frame)}
        for seed, frame in judged.items()
    }
    out.mkdir(parents=True, exist_ok=True)
    metrics = {"pixels": CHIP, "images": len(rows), "seeds": by_seed}
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def picture_of(pictures: dict[str, LFWPicture], name: str, source: Path) -> LFWPicture:
    """Raises DataError when it is not there any more."""
    if name not in pictures:
        raise DataError(f"{source}: no picture {name}, which the image store has; run the rule prepare_faces again")
    return pictures[name]


if __name__ == "__main__":
    run(main)
