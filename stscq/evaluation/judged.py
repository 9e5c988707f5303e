"""The test faces of one set, and a judgement of any codec on them: what its evaluations share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stscq.data.store import open_store
from stscq.evaluation.evaluate import PER_IMAGE, Judge, by_protocol, by_row, compare, load_judge, pairs_of
from stscq.evaluation.verification import judge_pairs


class TestFaces(NamedTuple):
    """images: the whole store (N x S x S x 3 uint8); rows: those of the pairs, whose identity is `identity`."""

    images: np.ndarray
    rows: np.ndarray
    identity: np.ndarray
    pairs: pd.DataFrame
    judge: Judge

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return int(self.images.shape[1])


class Judged(NamedTuple):
    """images: a row a face (row, identity, and PER_IMAGE); pairs: as `judge_pairs` has it; measured: their means."""

    images: pd.DataFrame
    pairs: pd.DataFrame
    measured: dict[str, Any]


def open_test_faces(store: Path, original: Path, judge: str) -> TestFaces:
    """original: the evaluation of the uncompressed images, which says which pairs are compared."""
    images, index = open_store(store)
    pairs, _ = pairs_of(original)
    rows = np.unique(pairs[["a", "b"]])
    return TestFaces(images, rows, index.identity.to_numpy()[rows], pairs, load_judge(judge, original))


def judge_codec(
    faces: TestFaces, decoded: Callable[[Sequence[bytes]], np.ndarray], payloads: Sequence[bytes]
) -> Judged:
    """Of what a codec made of faces.images[faces.rows]; decoded: from a batch of payloads to images."""
    frame, embeddings = compare(decoded, faces.images, faces.rows, payloads, faces.judge, None, None)
    frame = frame.assign(row=faces.rows, identity=faces.identity)
    pairs = judge_pairs(by_row(embeddings, faces.rows, len(faces.images)), faces.pairs)
    protocols = by_protocol(pairs, frame)
    means = {name: float(frame[name].mean()) for name in PER_IMAGE if name in frame}
    return Judged(
        frame, pairs, {"mean_acc": protocols[faces.pairs.protocol.iloc[0]]["mean_acc"], **means, "protocols": protocols}
    )
