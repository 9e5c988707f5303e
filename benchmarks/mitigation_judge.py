"""How benchmarks.mitigation judges a codec: on labelled faces that nothing was trained on, and on LFW.

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
from stscq.evaluation.strangers import (
    DRAWS,
    RATE,
    Cells,
    Estimate,
    cells_of,
    rates,
    similarities,
    threshold_at,
    without_copies,
)
from stscq.evaluation.verification import judge_pairs, similarity
from stscq.recognition.load import load_recogniser
from stscq.report.strangers import groups_of

PAIRS = 1500
"""Of LFW."""

Show = Callable[[np.ndarray], np.ndarray]
"""Images (N x S x S x 3 uint8) -> what a codec makes of them."""


class Data(NamedTuple):
    """Labelled faces to train on (a whole store), and the rows of each cell."""

    images: np.ndarray
    cells: Cells


class Judged(NamedTuple):
    """What the judge says of one codec. alike: similarities inside each cell of the fairness set; ids: N of it; of LFW
    the pairs as judged, their similarity, and ids of images."""

    alike: list[np.ndarray]
    ids: np.ndarray
    pairs: pd.DataFrame
    similarity: np.ndarray
    lfw_ids: pd.Series


class Judge:
    """Judges codecs on the fairness set and on pairs of LFW."""

    def __init__(self, name: str, fairness: Path, fairness_original: Path, store: Path, original: Path, seed: int):
        self.recogniser = load_recogniser(name)
        self.faces, index = open_store(fairness)
        self.cells = cells_of(index.group)
        self.ethnic = list(groups_of(self.cells, "ethnicity"))
        embeddings = np.load(fairness_original / "embeddings.npy", allow_pickle=False)
        self.originals, self.before = embeddings, similarities(embeddings, self.cells)
        random = np.random.default_rng(seed)
        self.halves = [np.array_split(random.permutation(len(rows)), 2) for rows in self.cells.values()]
        images, self.index = open_store(store)
        pairs = pairs_of(original)
        pairs = pairs[pairs.protocol == pairs.protocol.iloc[0]]
        self.pairs = pairs.groupby(["fold", "same"]).head(PAIRS // (2 * pairs.fold.nunique())).reset_index(drop=True)
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
        found = self.embed(show, self.faces)
        lfw = self.embed(show, self.lfw)
        table = by_row(lfw, self.rows, len(self.index))
        return Judged(
            without_copies(similarities(found, self.cells), self.before),
            cosine(self.originals, found),
            judge_pairs(table, self.pairs),
            similarity(table, self.pairs),
            pd.Series(cosine(self.lfw_originals, lfw), index=self.rows),
        )

    def false_matches(self, judged: Judged, each: bool) -> tuple[Estimate, list[float]]:
        """Rates of the cells, and their thresholds, one of all or one of each: set on one half of the fairness set's
        pictures and measured on the other, both ways."""
        first, second = (self.of_half(judged, each, half) for half in (0, 1))
        rate = Estimate(*((a + b) / 2 for a, b in zip(first[0], second[0], strict=True)))
        return rate, [(a + b) / 2 for a, b in zip(first[1], second[1], strict=True)]

    def of_half(self, judged: Judged, each: bool, half: int) -> tuple[Estimate, list[float]]:
        parts = [[alike[np.ix_(h, h)] for h in halves] for alike, halves in zip(judged.alike, self.halves, strict=True)]
        one = threshold_at([part[half] for part in parts], RATE)
        limits = [threshold_at([part[half]], RATE) if each else one for part in parts]
        drawn = [weight[:, halves[1 - half]] for weight, halves in zip(self.drawn, self.halves, strict=True)]
        found = [rates([part[1 - half]], t, [w]) for part, t, w in zip(parts, limits, drawn, strict=True)]
        values = np.concatenate([estimate.values for estimate in found])
        return Estimate(values, np.concatenate([estimate.draws for estimate in found], axis=1)), limits
