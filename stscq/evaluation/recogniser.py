"""What a recogniser verifies of the pairs of a set, by their protocol: of the shipped one, for its card.

python -m stscq.evaluation.recogniser --recogniser models/pretrain/distilled/recogniser.onnx --store data/lfw/faces ...
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.errors import DataError
from stscq.evaluation.judging import by_row
from stscq.evaluation.overlap import embed
from stscq.evaluation.verification import accuracy, verify
from stscq.files import write_atomically
from stscq.recognition.load import load_recogniser


def main(recogniser: str, store: Path, file: Path, judge: str = "dlib") -> None:
    """Writes FILE (JSON): how many pairs, and the accuracy (%) of RECOGNISER and of JUDGE on them.

    Raises DataError when the set has no verification pairs.
    """
    images, _ = open_store(store)
    if not (store / "pairs.parquet").is_file():
        raise DataError(f"{store}/pairs.parquet: missing; take a set with pairs (kind lfw, pack or rfw)")
    pairs = pd.read_parquet(store / "pairs.parquet")
    rows = np.unique(pairs[["a", "b"]])
    found = {
        name: 100 * accuracy(verify(by_row(embed(load_recogniser(path), images, rows), rows, len(images)), pairs))
        for name, path in (("recogniser", recogniser), ("judge", judge))
    }
    summary = {"pairs": len(pairs), "size": images.shape[1], "by": judge, "accuracy": found}
    write_atomically(file, json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
