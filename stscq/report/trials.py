"""What stscq.evaluation.trials wrote, as tidy tables: numbers, paired differences, the router's choices in training."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from stscq.evaluation.statistics import Paired, paired_bootstrap
from stscq.report.collect import differences

QUESTIONS = ("quantisers", "router_losses", "entries")
IMAGES = ("ids",)
"""What is compared image by image."""
SET = "test"


def trial_frames(folder: Path | None, of: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """trials: a row a question, backbone, seed and trial; trial_comparisons: the paired difference of a trial to the
    one it names (versus), over all seeds; trial_curves: a row an observed step. No rows without FOLDER.

    of: `backbones` and `seeds`, of which there are trials.
    """
    if folder is None:
        return {name: pd.DataFrame() for name in ("trials", "trial_comparisons", "trial_curves")}
    rows: list[dict[str, Any]] = []
    compared: list[dict[str, Any]] = []
    curves = []
    for question, backbone in product(QUESTIONS, of["backbones"]):
        where = {"question": question, "backbone": backbone}
        places = {seed: folder / question / backbone / f"seed{seed}" for seed in of["seeds"]}
        for seed, place in places.items():
            found = json.loads((place / "metrics.json").read_text(encoding="utf-8"))
            rows += [{**where, "seed": seed, **row} for row in found]
            curves.append(pd.read_parquet(place / "curve.parquet").assign(**where, seed=seed))
        compared += [{**where, **row} for row in comparisons(list(places.values()), found)]
    return {
        "trials": pd.DataFrame(rows),
        "trial_comparisons": pd.DataFrame(compared),
        "trial_curves": pd.concat(curves, ignore_index=True),
    }


def comparisons(places: Sequence[Path], trials: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Of each trial that names another one: a row a measure. places: a folder a seed."""
    images = pd.concat([pd.read_parquet(p / "images.parquet").assign(seed=n) for n, p in enumerate(places)])
    pairs = pd.concat([pd.read_parquet(p / "pairs.parquet").assign(seed=n) for n, p in enumerate(places)])
    pairs = pairs[pairs.protocol == pairs.protocol.iloc[0]]
    for trial in trials:
        if trial["versus"] is not None:
            names = (trial["trial"], trial["versus"])
            yield {**row_of(names, "mean_acc"), **of_pairs(pairs, images, names)._asdict()}
            for measure in IMAGES:
                yield {**row_of(names, measure), **of_images(images, names, measure)._asdict()}


def row_of(names: tuple[str, str], measure: str) -> dict[str, str]:
    return {"trial": names[0], "versus": names[1], "measure": measure}


def of_images(images: pd.DataFrame, names: tuple[str, str], measure: str) -> Paired:
    """Of one measure of each image."""
    both = beside(images, names, ["seed", "row", "identity"])
    return paired_bootstrap(differences(SET, both[measure] - both[f"{measure}_other"], both.identity, both.identity))


def of_pairs(pairs: pd.DataFrame, images: pd.DataFrame, names: tuple[str, str]) -> Paired:
    """Of the share of correct pairs, in points."""
    both = beside(pairs, names, ["seed", "a", "b", "fold"])
    person = images.drop_duplicates("row").set_index("row").identity
    value = 100.0 * (both.correct.astype(float) - both.correct_other.astype(float))
    return paired_bootstrap(differences(SET, value, both.a.map(person), both.b.map(person)))


def beside(frame: pd.DataFrame, names: tuple[str, str], on: list[str]) -> pd.DataFrame:
    """The rows of one trial, each with that of the other on the same picture or pair (columns ending in _other)."""
    mine, other = (frame[frame.trial == name] for name in names)
    return mine.merge(other, on=on, validate="one_to_one", suffixes=("", "_other"))
