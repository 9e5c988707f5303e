"""Which training faces may show people who will be tested? By the likeness of embeddings, where names say nothing.

python -m stscq.evaluation.overlap --store data/pretrain/sets/utkface --against '["data/pretrain/sets/lfw"]' --file ...
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.evaluation.judging import batches, rows_of
from stscq.files import write_atomically
from stscq.recognition.base import Recogniser
from stscq.recognition.load import load_recogniser

LIMIT = 0.945
"""Cosine of dlib's embeddings, at 64 x 64 pixels, from which a picture is left out. Of LFW's 3,000 genuine pairs 71 %
are as alike, of its impostor pairs none: somebody tested who is less alike may stay, and among many pictures some
strangers are left out."""


def main(store: Path, against: str, file: Path, judge: str = "dlib", limit: float = LIMIT) -> None:
    """Writes FILE (JSON): how many pictures were compared, those to leave out, and the likest, to be looked at.

    STORE: the training faces. AGAINST: a JSON list of stores; of one with pairs, the pictures in them count.
    """
    recogniser = load_recogniser(judge)
    images, index = open_store(store)
    ours = embed(recogniser, images, np.arange(len(images)))
    found = []
    for other in map(Path, json.loads(against)):
        theirs, their_index = open_store(other)
        pairs = other / "pairs.parquet"
        rows = rows_of(pd.read_parquet(pairs) if pairs.is_file() else pd.DataFrame(), len(theirs))
        likeness, nearest = most_alike(ours, embed(recogniser, theirs, rows))
        frame = pd.DataFrame({"picture": index.image_id, "likeness": likeness, "set": str(other)})
        found.append(frame.assign(nearest=their_index.image_id.to_numpy()[rows[nearest]]))
    alike = pd.concat(found).sort_values("likeness", ascending=False, kind="stable")
    summary = {
        "pictures": len(ours),
        "limit": limit,
        "leave_out": sorted(set(alike.picture[alike.likeness >= limit])),
        "likest": alike.head(50).round(4).to_dict("records"),
    }
    write_atomically(file, json.dumps(summary, indent=1) + "\n")


def embed(recogniser: Recogniser, images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """N x E, of images[rows]."""
    return np.concatenate([recogniser.embed(np.asarray(images[rows[part]])) for part in batches(len(rows))])


def most_alike(ours: np.ndarray, theirs: np.ndarray, batch: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Of each row of `ours` (N x E, length 1) the largest cosine to a row of `theirs` (P x E), and which: N each."""
    parts = [ours[start : start + batch] @ theirs.T for start in range(0, len(ours), batch)]
    return np.concatenate([part.max(1) for part in parts]), np.concatenate([part.argmax(1) for part in parts])


if __name__ == "__main__":
    run(main)
