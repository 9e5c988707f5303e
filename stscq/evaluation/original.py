"""Evaluate the uncompressed images of one set: the ceiling of every table, and what IDS compares with.

python -m stscq.evaluation.original --store data/demo/faces --pairs ... --judge dlib --out ...
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.data.splits import sample_rows
from stscq.data.store import open_store
from stscq.device import own_device
from stscq.evaluation.judging import batches, by_row, centred_cosine, cosine, rows_of
from stscq.evaluation.protocols import PUBLISHED, group_pairs, own_protocols
from stscq.evaluation.verification import accuracies, judge_pairs, similarity
from stscq.files import write_atomically
from stscq.recognition.load import load_recogniser
from stscq.training.faces import training_batches


def main(store: Path, pairs: Path, faces: Path, split: Path, out: Path, judge: str, own: bool) -> None:
    """Writes OUT/embeddings.npy (a row a test image, in order of the store), centre.npy, pairs.parquet (the pairs of
    every protocol, judged), group_pairs.parquet (pairs inside groups of people) and metrics.json.

    OWN: the pairs were drawn from our own test people, and harder protocols are made of the same images. FACES and
    SPLIT are those of the training. centre: the mean embedding of the training people's images, which the centred IDS
    takes as its origin. Where there are no pairs, for nobody knows the identities, all images of the store are test
    images, and there is no accuracy.
    """
    images, index = open_store(store)
    test_pairs = pd.read_parquet(pairs)
    rows = rows_of(test_pairs, len(images))
    recogniser = load_recogniser(judge)
    embeddings = np.concatenate([recogniser.embed(images[rows[part]]) for part in batches(len(rows))])
    known = training_batches(faces, split, size=1, seed=0, device=own_device())
    training = known.images[sample_rows(known.rows, seed=0)]
    centre = recogniser.embed(training).mean(0)
    mean_face = recogniser.embed(training.mean(0, keepdims=True).round().astype(np.uint8))
    mean_faces = np.broadcast_to(mean_face, embeddings.shape)
    table = by_row(embeddings, rows, len(images))
    protocols = (
        own_protocols(test_pairs, index.identity, table, images, seed=0)
        if own
        else test_pairs.assign(protocol=PUBLISHED)
    )
    judged = judge_pairs(table, protocols)
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "embeddings.npy", embeddings, allow_pickle=False)
    np.save(out / "centre.npy", centre, allow_pickle=False)
    judged.to_parquet(out / "pairs.parquet")
    inside = group_pairs(test_pairs, index.identity, index.group, seed=0)
    inside.assign(similarity=similarity(table, inside)).to_parquet(out / "group_pairs.parquet")
    metrics = {
        "images": len(rows),
        "people": int(index.identity[rows].nunique()),
        "pairs": len(test_pairs),
        **({"mean_acc": accuracies(judged)[protocols.protocol.iloc[0]]} if len(judged) else {}),
        "protocols": {name: {"mean_acc": value} for name, value in accuracies(judged).items()},
        # The same face for everybody, from no bits at all: what either IDS is worth.
        "mean_face": {
            "ids": float(cosine(embeddings, mean_faces).mean()),
            "ids_centred": float(centred_cosine(embeddings, mean_faces, centre).mean()),
        },
    }
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
