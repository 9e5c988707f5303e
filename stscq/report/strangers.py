"""Faces of unknown identity: in which groups are strangers taken for the same person, and whom do codebooks serve?

From what stscq.evaluation.strangers measured of each codec and seed. Axes: C cells (an ethnic group and a gender), R
bootstrap draws, G groups of people.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stscq.evaluation.statistics import low_high_p
from stscq.evaluation.strangers import AFTER, BEFORE, ETHNIC, FILE, GENDERS, Cells, Estimate, Strangers, read_strangers
from stscq.report.collect import Evaluations, Run
from stscq.report.fairness import ORIGINAL, one_group

COLUMNS = [*Run._fields, "measure", "by", "group", "value", "low", "high", "p", "people"]


def found_of(folder: Path, run: Run, seed: int) -> Strangers:
    return read_strangers(folder / run.backbone / run.variant / f"seed{seed}" / FILE, run.selection)


def strangers(e: Evaluations, folder: Path) -> pd.DataFrame:
    """Rows of COLUMNS, mean over seeds with the 95 % bootstrap interval over pictures; none without such a set.

    e: on the one set of this kind. folder: of stscq.evaluation.strangers. by: ethnicity or gender. group: one of them,
    or `spread` (see `spread_of`), or `spread_vs_original`, `spread_vs_one_group`: its change, paired, with its p-value.
    """
    if not e.sets or not e.runs():
        return pd.DataFrame(columns=COLUMNS)
    found = {run: [found_of(folder, run, seed) for seed in e.seeds] for run in e.runs()}
    first = found[e.runs()[0]]
    before = over_seeds([one.measured[BEFORE] for one in first])  # the same of every codec
    measured = {ORIGINAL: {"fmr": before, "fmr_reset": before}}
    measured |= {
        run: {name: over_seeds([one.measured[name] for one in seeds]) for name in AFTER} for run, seeds in found.items()
    }
    cells = first[0].cells
    rows = [row for run in measured for row in rows_of_run(measured, run, one_group(e, run), cells)]
    return pd.DataFrame(rows, columns=COLUMNS)


def groups_of(cells: Cells, by: str) -> dict[str, list[int]]:
    """Group of people -> the numbers of its cells."""
    if by == "ethnicity":
        found = {ethnic: [i for i, name in enumerate(cells) if name.startswith(f"{ethnic} ")] for ethnic in ETHNIC}
    else:
        found = {
            several: [i for i, name in enumerate(cells) if name.endswith(f" {one}")] for one, several in GENDERS.items()
        }
    return {group: inside for group, inside in found.items() if inside}


def over_seeds(found: Sequence[Estimate]) -> Estimate:
    """Means over seeds, of the same resamples of the same pictures."""
    return Estimate(np.mean([one.values for one in found], axis=0), np.mean([one.draws for one in found], axis=0))


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


def served(e: Evaluations, folder: Path) -> pd.DataFrame:
    """Which codebook groups serve which people: rows of SERVED, of codecs with several; none without such a set."""
    rows = []
    several = [run for run in e.runs() if e.variants[run.backbone][run.variant]["M"] > 1] if e.sets else []
    for run, seed in product(several, e.seeds):
        found = found_of(folder, run, seed)
        for by in ("ethnicity", "gender"):
            for people, inside in groups_of(found.cells, by).items():
                counts = found.served[inside].sum(0)
                for group in np.flatnonzero(counts):
                    rows.append({**run._asdict(), "seed": seed, "by": by, "people": people,
                                 "codebook_group": int(group), "images": int(counts[group])})  # fmt: skip
    return pd.DataFrame(rows, columns=SERVED)
