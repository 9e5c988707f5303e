"""Evaluate the uncompressed test images: the ceiling of every table, and the embeddings that IDS compares with.

python -m stscq.evaluation.original --store data/demo/faces --pairs ... --judge dlib --out ...
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.evaluation.evaluate import by_row, save_array
from stscq.evaluation.verification import accuracy, verify
from stscq.recognition.base import load_recogniser
from stscq.training.checkpoint import write_atomically


def main(store: Path, pairs: Path, out: Path, judge: str) -> None:
    """Writes OUT/embeddings.npy (a row a test image, in order of the store), pairs.parquet and metrics.json."""
    images, _ = open_store(store)
    test_pairs = pd.read_parquet(pairs)
    rows = np.unique(test_pairs[["a", "b"]])
    embeddings = load_recogniser(judge).embed(images[rows])
    judged = verify(by_row(embeddings, rows, len(images)), test_pairs)
    save_array(embeddings, out / "embeddings.npy")
    judged.to_parquet(out / "pairs.parquet")
    write_atomically(
        out / "metrics.json", json.dumps({"images": len(rows), "mean_acc": 100 * accuracy(judged)}, indent=2) + "\n"
    )


if __name__ == "__main__":
    run(main)
