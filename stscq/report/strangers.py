"""Faces of unknown identity: in which groups are strangers taken for the same person, and whom do codebooks serve?

As NIST's reports on demographic effects have it (Grother, Ngan, Hanaoka, NISTIR 8280, 2019): impostor pairs inside one
ethnic group and gender, and one threshold for everybody. Every two different pictures count as two people, but for
near-copies (NEAR_COPY); other pairs of one person are false matches by mistake, before compression as after it.
Axes: N pictures, C cells (an ethnic group and a gender), n pictures in a cell, R bootstrap draws, G groups.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stscq.evaluation.statistics import low_high_p, person_weights
from stscq.report.collect import Evaluations, Run
from stscq.report.fairness import DRAWS, ORIGINAL, one_group

ETHNIC = ("White", "Black", "Asian", "Indian")
"""As UTKFace calls them; its `Other` is no group of people who have something in common."""
GENDERS = {"woman": "women", "man": "men"}
RATE = 0.001
"""The false match rate of all cells together that the threshold is set to (ours)."""
NEAR_COPY = 0.98
"""Pairs whose uncompressed pictures are more alike (cosine) are taken for one picture twice, and count as no match."""
MEASURES = ("ids", "fmr", "fmr_reset")
"""IDS; false match rate in % at the threshold that gives RATE on the uncompressed pictures; and at that which gives it
on the pictures in question."""
COLUMNS = [*Run._fields, "measure", "by", "group", "value", "low", "high", "p", "people"]
Cells = Mapping[str, np.ndarray]
"""Label such as `White woman` -> its pictures: positions among N."""


class Estimate(NamedTuple):
    """A number for each of C cells (or G groups), and the same in R resamples of the pictures: R x C."""

    values: np.ndarray
    draws: np.ndarray


def strangers(e: Evaluations) -> pd.DataFrame:
    """Rows of COLUMNS, mean over seeds with the 95 % bootstrap interval over pictures; none without such a set.

    e: on the one set of this kind. by: ethnicity or gender. group: one of them, or `spread` (see `spread_of`), or
    `spread_vs_original`, `spread_vs_one_group`: its change, paired, with its p-value.
    """
    if not e.sets or not e.runs():
        return pd.DataFrame(columns=COLUMNS)
    first = e.selected(e.runs()[0], e.seeds[0], e.sets[0], "images.parquet")
    cells = cells_of(first.label)
    weights = person_weights(first.row.to_numpy(), DRAWS, seed=0).to_numpy()
    drawn = [weights[:, rows].astype(np.float32) for rows in cells.values()]
    originals = [original_alike(e, seed, cells) for seed in e.seeds]
    distinct = [without_copies(found, found) for found in originals]
    kept = [threshold_at(found, RATE) for found in distinct]
    before = over_seeds([rates(found, limit, drawn) for found, limit in zip(distinct, kept, strict=True)])
    measured = {ORIGINAL: {"fmr": before, "fmr_reset": before}}
    measured |= {run: after(e, run, cells, originals, kept, drawn) for run in e.runs()}
    rows = [row for run in measured for row in rows_of_run(measured, run, one_group(e, run), cells)]
    return pd.DataFrame(rows, columns=COLUMNS)


def cells_of(labels: pd.Series) -> Cells:
    """The cells that have two pictures or more."""
    names = [f"{ethnic} {gender}" for ethnic in ETHNIC for gender in GENDERS]
    found = {name: np.flatnonzero(labels.to_numpy() == name) for name in names}
    return {name: rows for name, rows in found.items() if len(rows) > 1}


def groups_of(cells: Cells, by: str) -> dict[str, list[int]]:
    """Group of people -> the numbers of its cells."""
    if by == "ethnicity":
        found = {ethnic: [i for i, name in enumerate(cells) if name.startswith(f"{ethnic} ")] for ethnic in ETHNIC}
    else:
        found = {
            several: [i for i, name in enumerate(cells) if name.endswith(f" {one}")] for one, several in GENDERS.items()
        }
    return {group: inside for group, inside in found.items() if inside}


def original_alike(e: Evaluations, seed: int, cells: Cells) -> list[np.ndarray]:
    """`similarities` of the uncompressed pictures."""
    file = e.folder / "original" / e.sets[0] / f"seed{seed}" / "embeddings.npy"
    return similarities(np.load(file, allow_pickle=False), cells)


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


def over_seeds(found: Sequence[Estimate]) -> Estimate:
    """Means over seeds, of the same resamples of the same pictures."""
    return Estimate(np.mean([one.values for one in found], axis=0), np.mean([one.draws for one in found], axis=0))


def after(
    e: Evaluations,
    run: Run,
    cells: Cells,
    originals: Sequence[Sequence[np.ndarray]],
    kept: Sequence[float],
    drawn: Sequence[np.ndarray],
) -> dict[str, Estimate]:
    """MEASURES of a codec. originals, kept: of each seed's uncompressed pictures the similarities and the threshold."""
    found: dict[str, list[Estimate]] = {measure: [] for measure in MEASURES}
    for seed, before, limit in zip(e.seeds, originals, kept, strict=True):
        images = e.selected(run, seed, e.sets[0], "images.parquet")
        alike = without_copies(similarities(np.stack(images.embedding.to_list()), cells), before)
        found["ids"].append(mean_ids(images.ids.to_numpy(), cells, drawn))
        found["fmr"].append(rates(alike, limit, drawn))
        found["fmr_reset"].append(rates(alike, threshold_at(alike, RATE), drawn))
    return {measure: over_seeds(estimates) for measure, estimates in found.items()}


def in_groups(found: Estimate, cells: Cells, by: str) -> Estimate:
    """G groups, in each of which all cells weigh the same."""
    inside = list(groups_of(cells, by).values())
    values = np.array([found.values[cell].mean() for cell in inside])
    return Estimate(values, np.stack([found.draws[:, cell].mean(1) for cell in inside], axis=1))


def spread_of(found: Estimate, measure: str, cells: Cells) -> Estimate:
    """Of IDS the largest group's less the smallest's; of false matches log2 of the largest rate over the smallest.

    So 1 is twice as many. A rate of none at all counts as half a pair.
    """
    if measure == "ids":
        return Estimate(np.ptp(found.values), np.ptp(found.draws, axis=1))
    least = 50 / max(sum(len(rows) * (len(rows) - 1) / 2 for rows in cells.values()) / len(found.values), 1)
    logs = Estimate(*(np.log2(np.maximum(part, least)) for part in found))
    return Estimate(np.ptp(logs.values), np.ptp(logs.draws, axis=1))


def rows_of_run(
    measured: Mapping[Run, Mapping[str, Estimate]], run: Run, reference: Run | None, cells: Cells
) -> Iterator[dict[str, Any]]:
    """The rows of one run. reference: the codec of one codebook group that it is compared with, if any."""
    people = sum(map(len, cells.values()))
    for (measure, found), by in product(measured[run].items(), ("ethnicity", "gender")):
        where = {**run._asdict(), "measure": measure, "by": by, "people": people}
        groups = in_groups(found, cells, by)
        for i, group in enumerate(groups_of(cells, by)):
            low, high, _ = low_high_p(groups.draws[:, i])
            yield {**where, "group": group, "value": groups.values[i], "low": low, "high": high}
        spread = spread_of(groups, measure, cells)
        low, high, _ = low_high_p(spread.draws)
        yield {**where, "group": "spread", "value": spread.values, "low": low, "high": high}
        for name, other in (("spread_vs_original", ORIGINAL), ("spread_vs_one_group", reference)):
            if other is not None and other != run and measure in measured[other]:
                theirs = spread_of(in_groups(measured[other][measure], cells, by), measure, cells)
                low, high, p = low_high_p(spread.draws - theirs.draws)
                change = {"value": spread.values - theirs.values, "low": low, "high": high, "p": p}
                yield {**where, "group": name, **change}


SERVED = [*Run._fields, "seed", "by", "people", "codebook_group", "images"]


def served(e: Evaluations) -> pd.DataFrame:
    """Which codebook groups serve which people: rows of SERVED, of codecs with several; none without such a set."""
    rows = []
    several = [run for run in e.runs() if e.variants[run.backbone][run.variant]["M"] > 1] if e.sets else []
    for run, seed in product(several, e.seeds):
        images = e.selected(run, seed, e.sets[0], "images.parquet")
        cells = cells_of(images.label)
        for by in ("ethnicity", "gender"):
            for people, inside in groups_of(cells, by).items():
                of_them = np.concatenate([list(cells.values())[cell] for cell in inside])
                for group, count in images.group.iloc[of_them].value_counts().sort_index().items():
                    rows.append({**run._asdict(), "seed": seed, "by": by, "people": people,
                                 "codebook_group": group, "images": count})  # fmt: skip
    return pd.DataFrame(rows, columns=SERVED)
