"""Faces of unknown identity: how often strangers are taken for the same person, and which codebooks serve whom.

python -m stscq.evaluation.strangers --evaluation data/lfw/evaluation/ibq/global/utkface_fairness/seed1
    --original data/lfw/evaluation/original/utkface_fairness/seed1 --out data/lfw/strangers/ibq/global/seed1

As NIST's reports on demographic effects have it (Grother, Ngan, Hanaoka, NISTIR 8280, 2019): impostor pairs inside one
ethnic group and gender, and one threshold for everybody. Every two different pictures count as two people, but for
near-copies (NEAR_COPY); other pairs of one person are false matches by mistake, before compression as after it. What is
written has no picture's embedding, so that it may be passed on. Axes: N pictures, C cells (an ethnic group and a
gender), n pictures in a cell, R bootstrap draws, G codebook groups.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.evaluation.statistics import person_weights
from stscq.files import atomically

ETHNIC = ("White", "Black", "Asian", "Indian")
"""As UTKFace calls them; its `Other` is no group of people who have something in common."""
GENDERS = {"woman": "women", "man": "men"}
RATE = 0.001
"""The false match rate of all cells together that the threshold is set to (ours)."""
NEAR_COPY = 0.98
"""Pairs whose uncompressed pictures are more alike (cosine) are taken for one picture twice, and count as no match."""
BEFORE = "before"
"""The false match rate of the uncompressed pictures, among what is measured of a codec; the rest is after."""
AFTER = ("ids", "fmr", "fmr_reset")
"""IDS; false match rate in % at the threshold that gives RATE on the uncompressed pictures; and at that which gives it
on the pictures in question."""
DRAWS = 1000
FILE = "strangers.npz"
Cells = Mapping[str, np.ndarray]
"""Label such as `White woman` -> its pictures: positions among N."""


class Estimate(NamedTuple):
    """A number for each of C cells, and the same in R resamples of the pictures: R x C."""

    values: np.ndarray
    draws: np.ndarray


class Strangers(NamedTuple):
    """Of one codec and selection. measured: BEFORE and AFTER; served: pictures of a cell that chose a group (C x G)."""

    cells: Cells
    measured: Mapping[str, Estimate]
    served: np.ndarray


def main(evaluation: Path, original: Path, out: Path) -> None:
    """Writes OUT/strangers.npz. EVALUATION: of a codec on labelled faces without identities; ORIGINAL: of the same
    faces, uncompressed."""
    images = pd.read_parquet(evaluation / "images.parquet")
    embeddings = np.load(original / "embeddings.npy", allow_pickle=False)
    arrays: dict[str, np.ndarray] = {}
    for selection, part in images.groupby("selection", sort=False):
        found = measure(part.reset_index(drop=True), embeddings)
        arrays |= {f"cells/{name}": rows for name, rows in found.cells.items()}
        arrays[f"{selection}/served"] = found.served
        for name, estimate in found.measured.items():
            arrays[f"{selection}/{name}/values"] = estimate.values
            arrays[f"{selection}/{name}/draws"] = estimate.draws
    out.mkdir(parents=True, exist_ok=True)
    with atomically(out / FILE) as partial, partial.open("wb") as opened:
        np.savez_compressed(opened, **arrays)  # type: ignore[arg-type]


def read_strangers(file: Path, selection: str) -> Strangers:
    """What `main` wrote of one selection."""
    with np.load(file, allow_pickle=False) as arrays:
        cells = {name.removeprefix("cells/"): arrays[name] for name in arrays.files if name.startswith("cells/")}
        measured = {
            name: Estimate(arrays[f"{selection}/{name}/values"], arrays[f"{selection}/{name}/draws"])
            for name in (BEFORE, *AFTER)
        }
        return Strangers(cells, measured, arrays[f"{selection}/served"])


def measure(images: pd.DataFrame, originals: np.ndarray) -> Strangers:
    """images: a row for each of N pictures, with row, label, ids, group and embedding; originals: N x E of length 1."""
    cells = cells_of(images.label)
    weights = person_weights(images.row.to_numpy(), DRAWS, seed=0).to_numpy()
    drawn = [weights[:, rows].astype(np.float32) for rows in cells.values()]
    before = similarities(originals, cells)
    distinct = without_copies(before, before)
    alike = without_copies(similarities(np.stack(images.embedding.to_list()), cells), before)
    limit = threshold_at(distinct, RATE)
    measured = {
        BEFORE: rates(distinct, limit, drawn),
        "ids": mean_ids(images.ids.to_numpy(), cells, drawn),
        "fmr": rates(alike, limit, drawn),
        "fmr_reset": rates(alike, threshold_at(alike, RATE), drawn),
    }
    group = images.group.to_numpy()
    served = [np.bincount(group[rows], minlength=int(group.max()) + 1) for rows in cells.values()]
    return Strangers(cells, measured, np.array(served))


def cells_of(labels: pd.Series) -> Cells:
    """The cells that have two pictures or more."""
    names = [f"{ethnic} {gender}" for ethnic in ETHNIC for gender in GENDERS]
    found = {name: np.flatnonzero(labels.to_numpy() == name) for name in names}
    return {name: rows for name, rows in found.items() if len(rows) > 1}


def without_copies(alike: Sequence[np.ndarray], originals: Sequence[np.ndarray]) -> list[np.ndarray]:
    """ALIKE with -1 for near-copies of one picture, which the uncompressed pictures (ORIGINALS, n x n a cell) tell."""
    return [np.where(before > NEAR_COPY, -1, found) for found, before in zip(alike, originals, strict=True)]


def similarities(embeddings: np.ndarray, cells: Cells) -> list[np.ndarray]:
    """Of every two pictures of each cell: n x n a cell. embeddings: N x E of length 1."""
    return [embeddings[rows] @ embeddings[rows].T for rows in cells.values()]


def threshold_at(alike: Sequence[np.ndarray], rate: float) -> float:
    """The lowest similarity that no more than the share `rate` of pairs exceed, every cell weighing the same."""
    upper = [found[np.triu_indices(len(found), 1)] for found in alike]
    scores = np.concatenate(upper)
    weight = np.concatenate([np.full(len(part), 1 / (len(part) * len(upper))) for part in upper])
    order = np.argsort(-scores, kind="stable")
    allowed = int(np.searchsorted(np.cumsum(weight[order]), rate * (1 + 1e-9), side="right"))
    return float(scores[order][min(allowed, len(scores) - 1)])


def rates(alike: Sequence[np.ndarray], threshold: float, drawn: Sequence[np.ndarray]) -> Estimate:
    """False match rates in %, C and R x C. drawn: how often each of the n pictures of a cell occurs (R x n a cell).

    A pair counts as often as the product of its two pictures; a picture drawn twice makes no pair with itself.
    """
    values, draws = [], []
    for found, weight in zip(alike, drawn, strict=True):
        matched = np.triu(found > threshold, 1).astype(np.float32)
        pairs = (weight.sum(1) ** 2 - (weight**2).sum(1)) / 2
        values.append(matched.sum() / (len(found) * (len(found) - 1) / 2))
        draws.append(((weight @ matched) * weight).sum(1) / np.maximum(pairs, 1))
    return Estimate(100 * np.array(values), 100 * np.stack(draws, axis=1))


def mean_ids(ids: np.ndarray, cells: Cells, drawn: Sequence[np.ndarray]) -> Estimate:
    """Of the pictures of each cell. ids: N."""
    parts = [ids[rows] for rows in cells.values()]
    draws = [(weight @ part) / np.maximum(weight.sum(1), 1) for part, weight in zip(parts, drawn, strict=True)]
    return Estimate(np.array([part.mean() for part in parts]), np.stack(draws, axis=1))


if __name__ == "__main__":
    run(main)
