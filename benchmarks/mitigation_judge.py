"""How benchmarks.mitigation judges a codec: on labelled faces, on training faces for the thresholds, and on LFW.

Axes: N images, C cells (an ethnic group and a gender).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stscq.data.store import open_store
from stscq.evaluation.judging import by_row, cosine, pairs_of, rows_of
from stscq.evaluation.statistics import person_weights
from stscq.evaluation.verification import judge_pairs, similarity
from stscq.recognition.load import load_recogniser
from stscq.report.fairness import DRAWS
from stscq.report.strangers import (
    RATE,
    Cells,
    Estimate,
    cells_of,
    groups_of,
    rates,
    similarities,
    threshold_at,
    without_copies,
)

CALIBRATED, PAIRS = 250, 1500
"""Training faces of each cell for the thresholds; pairs of LFW."""

Show = Callable[[np.ndarray], np.ndarray]
"""Images (N x S x S x 3 uint8) -> what a codec makes of them."""


class Data(NamedTuple):
    """Labelled faces to train on (a whole store), and the rows of each cell."""

    images: np.ndarray
    cells: Cells


class Judged(NamedTuple):
    """What the judge says of one codec. alike: similarities inside each cell of the fairness set; calibration: of the
    training faces; ids: N of the fairness set; of LFW: pairs as judged, similarity of all, ids of images."""

    alike: list[np.ndarray]
    calibration: list[np.ndarray]
    ids: np.ndarray
    pairs: pd.DataFrame
    similarity: np.ndarray
    lfw_ids: pd.Series


class Judge:
    """Judges codecs on the fairness set, on training faces of each cell, and on pairs of LFW."""

    def __init__(
        self, name: str, data: Data, fairness: Path, fairness_original: Path, store: Path, original: Path, seed: int
    ):
        self.recogniser = load_recogniser(name)
        self.faces, index = open_store(fairness)
        self.cells = cells_of(index.group)
        self.ethnic = list(groups_of(self.cells, "ethnicity"))
        embeddings = np.load(fairness_original / "embeddings.npy", allow_pickle=False)
        self.originals, self.before = embeddings, similarities(embeddings, self.cells)
        random = np.random.default_rng(seed)
        rows = [random.choice(rows, min(CALIBRATED, len(rows)), replace=False) for rows in data.cells.values()]
        self.training = data.images[np.concatenate(rows)]
        ends = np.cumsum([len(part) for part in rows])
        self.training_cells = {
            name: np.arange(end - len(part), end) for name, part, end in zip(data.cells, rows, ends, strict=True)
        }
        self.training_before = similarities(self.recogniser.embed(self.training), self.training_cells)
        images, self.index = open_store(store)
        pairs = pairs_of(original)
        pairs = pairs[pairs.protocol == pairs.protocol.iloc[0]]
        self.pairs = pairs.groupby("same").head(PAIRS // 2).reset_index(drop=True)
        self.rows = rows_of(self.pairs, len(images))
        self.lfw = np.array(images[self.rows])
        self.lfw_originals = np.load(original / "embeddings.npy", allow_pickle=False)[np.searchsorted(
            rows_of(pairs_of(original), len(images)), self.rows
        )]  # fmt: skip
        self.drawn = [
            person_weights(np.arange(len(self.faces)), DRAWS, seed=0).to_numpy()[:, rows].astype(np.float32)
            for rows in self.cells.values()
        ]

    def embed(self, show: Show, images: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [self.recogniser.embed(show(np.array(images[i : i + 64]))) for i in range(0, len(images), 64)]
        )

    def judge(self, show: Show) -> Judged:
        found, training = self.embed(show, self.faces), self.embed(show, self.training)
        lfw = self.embed(show, self.lfw)
        table = by_row(lfw, self.rows, len(self.index))
        return Judged(
            without_copies(similarities(found, self.cells), self.before),
            without_copies(similarities(training, self.training_cells), self.training_before),
            cosine(self.originals, found),
            judge_pairs(table, self.pairs),
            similarity(table, self.pairs),
            pd.Series(cosine(self.lfw_originals, lfw), index=self.rows),
        )

    def false_matches(self, judged: Judged, each: bool) -> tuple[Estimate, list[float]]:
        """Rates of the cells, and their thresholds: one of all, or one of each."""
        one = threshold_at(judged.calibration, RATE)
        limits = [threshold_at([own], RATE) if each else one for own in judged.calibration]
        parts = [rates([a], t, [w]) for a, t, w in zip(judged.alike, limits, self.drawn, strict=True)]
        values = np.concatenate([part.values for part in parts])
        return Estimate(values, np.concatenate([part.draws for part in parts], axis=1)), limits
