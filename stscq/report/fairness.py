"""Do groups of people fare alike? Rates at one threshold for all, their spread, and which codebooks serve whom.

Axes: P pairs, R bootstrap draws, G groups.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stscq.evaluation.statistics import low_high_p, person_weights
from stscq.evaluation.strangers import DRAWS
from stscq.evaluation.verification import best_threshold
from stscq.report.collect import Evaluations, Run

ORIGINAL = Run("none", "original", "")
RATES = ("mean_acc", "fmr", "fnmr")
"""In %: balanced accuracy, false match rate (impostors taken for the same person), false non-match rate."""


def fairness(e: Evaluations) -> pd.DataFrame:
    """Rows of run, seed, group, measure, value; and for each run, with group `spread`, what is the same for all seeds.

    e: on the sets whose images carry labels of groups. Spread: the population standard deviation over the groups of a
    measure, mean over seeds, with its 95 % bootstrap interval over people (low, high); with measure `mean_acc_change`
    the change of the accuracies' spread against the uncompressed images, paired, with its p-value; with
    `mean_acc_change_by_groups` that of several codebook groups against one.
    """
    if not e.sets or not e.runs() or not labelled(e):
        return pd.DataFrame(columns=COLUMNS)
    judged = {run: [judged_pairs(e, run, seed) for seed in e.seeds] for run in (ORIGINAL, *e.runs())}
    groups = [set(frame.group) for frame in judged[ORIGINAL]]
    if any(len(found) < 2 or found != groups[0] for found in groups):
        return pd.DataFrame(columns=COLUMNS)  # a handful of people: some seed has a group of one, without impostors
    rows = []
    for run, frames in judged.items():
        for seed, frame in zip(e.seeds, frames, strict=True):
            for group, part in frame.groupby("group"):
                rows += [
                    {**run._asdict(), "seed": seed, "group": group, "measure": m, "value": v}
                    for m, v in rates(part).items()
                ]
    rows += [row for run in e.runs() for row in ids_by_group(e, run)]
    people = np.unique(np.concatenate([f[["first", "second"]].to_numpy().ravel() for f in judged[ORIGINAL]]))
    drawn = person_weights(people, DRAWS, seed=0)
    for run, frames in judged.items():
        spread = spread_of(frames, drawn)
        rows.append({**run._asdict(), "group": "spread", "measure": "mean_acc", **spread.interval()._asdict()})
        for measure, reference in (("mean_acc_change", ORIGINAL), ("mean_acc_change_by_groups", one_group(e, run))):
            if reference is not None and reference != run:
                other = spread_of(judged[reference], drawn)
                change = GroupSpread(spread.value - other.value, spread.draws - other.draws)
                rows.append({**run._asdict(), "group": "spread", "measure": measure, **change.interval()._asdict()})
    return pd.DataFrame(rows)


COLUMNS = [*Run._fields, "seed", "group", "measure", "value", "low", "high", "p"]


def labelled(e: Evaluations) -> bool:
    """Does anybody on the sets carry a label?"""
    paths = [e.folder / "original" / s / f"seed{seed}" / "group_pairs.parquet" for s in e.sets for seed in e.seeds]
    return all(len(pd.read_parquet(path, columns=["a"])) > 0 for path in paths)


def one_group(e: Evaluations, run: Run) -> Run | None:
    """The token-specific codec (one group) that a switchable one is compared with; None for other codecs."""
    variants = e.variants.get(run.backbone, {})
    if run.variant not in variants or variants[run.variant]["M"] == 1:
        return None
    names = [name for name, v in variants.items() if v["M"] == 1 and not v["shared"] and v["published"]]
    return Run(run.backbone, names[0], "nn") if names else None


def judged_pairs(e: Evaluations, run: Run, seed: int) -> pd.DataFrame:
    """Pairs inside groups: same, group, correct, first and second (people), at one threshold for all groups.

    Without groups that have no impostor pairs."""
    frames = []
    for image_set in e.sets:
        if run == ORIGINAL:
            found = pd.read_parquet(e.folder / "original" / image_set / f"seed{seed}" / "group_pairs.parquet")
        else:
            found = e.selected(run, seed, image_set, "group_pairs.parquet")
        someone = e.runs()[0]
        person = e.selected(someone, seed, image_set, "images.parquet").set_index("row").identity
        first, second = (image_set + "/" + found[side].map(person) for side in ("a", "b"))
        frames.append(found.assign(first=first, second=second))
    pairs = pd.concat(frames, ignore_index=True)
    pairs = pairs[pairs.groupby("group").same.transform("nunique") == 2]
    if pairs.empty:
        return pairs
    threshold = common_threshold(pairs)
    return pairs.assign(correct=(pairs.similarity > threshold) == pairs.same)


def common_threshold(pairs: pd.DataFrame) -> float:
    """The threshold with the highest balanced accuracy, every group and both kinds of pairs weighing the same."""
    weight = 1 / pairs.groupby(["group", "same"]).similarity.transform("size").to_numpy()
    return best_threshold(pairs.similarity.to_numpy(), pairs.same.to_numpy(bool), weight)


def rates(pairs: pd.DataFrame) -> dict[str, float]:
    """RATES of judged pairs, in %."""
    right = pairs.groupby("same").correct.mean()
    fmr, fnmr = 100 * (1 - right[False]), 100 * (1 - right[True])
    return {"mean_acc": 100 - (fmr + fnmr) / 2, "fmr": fmr, "fnmr": fnmr}


def ids_by_group(e: Evaluations, run: Run) -> Iterator[dict[str, Any]]:
    for seed in e.seeds:
        images = pd.concat([with_labels(e, run, seed, image_set) for image_set in e.sets])
        for group, part in images[images.label != ""].groupby("label"):
            yield {**run._asdict(), "seed": seed, "group": group, "measure": "ids", "value": float(part.ids.mean())}


def with_labels(e: Evaluations, run: Run, seed: int, image_set: str) -> pd.DataFrame:
    """The images of a set with the label of their group of people, as their pairs have it; empty for the others."""
    pairs = pd.read_parquet(e.folder / "original" / image_set / f"seed{seed}" / "group_pairs.parquet")
    label = pd.concat([pairs.set_index(side).group for side in ("a", "b")])
    label = label[~label.index.duplicated()]
    images = e.selected(run, seed, image_set, "images.parquet")
    return images.assign(label=images.row.map(label).fillna(""))


class Interval(NamedTuple):
    value: float
    low: float
    high: float
    p: float


class GroupSpread(NamedTuple):
    """A statistic and its values in R resamples of the people."""

    value: float
    draws: np.ndarray

    def interval(self) -> Interval:
        """p means something for differences alone."""
        return Interval(self.value, *low_high_p(self.draws))


def spread_of(frames: Sequence[pd.DataFrame], drawn: pd.DataFrame) -> GroupSpread:
    """Population standard deviation of the groups' accuracies, in points, mean over seeds (a frame each).

    drawn: R x people, how often each occurs in a resample. Thresholds stay where all people put them.
    """
    value = float(np.mean([np.std([rates(part)["mean_acc"] for _, part in f.groupby("group")]) for f in frames]))
    draws = [np.std(group_accuracies(f, drawn), axis=1) for f in frames]
    return GroupSpread(value, np.mean(draws, axis=0))


def group_accuracies(pairs: pd.DataFrame, drawn: pd.DataFrame) -> np.ndarray:
    """R x G balanced accuracies in %; NaN where a resample has no pair of some kind."""
    weights, position = drawn.to_numpy(), {person: i for i, person in enumerate(drawn.columns)}
    columns = []
    for _, part in pairs.groupby("group"):
        shares = []
        for kind in (True, False):
            cells = part[part.same == kind].groupby(["first", "second"]).correct.agg(["sum", "size"]).reset_index()
            a, b = (cells[side].map(position).to_numpy() for side in ("first", "second"))
            times = np.where(a == b, weights[:, a], weights[:, a] * weights[:, b])
            with np.errstate(invalid="ignore"):
                shares.append((times @ cells["sum"].to_numpy()) / (times @ cells["size"].to_numpy()))
        columns.append(100 * (shares[0] + shares[1]) / 2)
    return np.stack(columns, axis=1)


CHOICES = [*Run._fields, "seed", "person", "label", "codebook_group", "images"]


def router_choices(e: Evaluations) -> pd.DataFrame:
    """Which codebook groups serve which people: rows of CHOICES.

    Images of the first set; codecs with several groups, of which a run may have none.
    """
    rows = []
    for run, seed in product(e.runs(), e.seeds):
        images = with_labels(e, run, seed, e.sets[0])
        if images.group.max() > 0 or run.selection == "router":
            counts = images.groupby(["identity", "label", "group"], dropna=False).size().rename("images").reset_index()
            counts = counts.rename(columns={"identity": "person", "group": "codebook_group"})
            rows.append(counts.assign(**run._asdict(), seed=seed))
    return pd.concat(rows, ignore_index=True)[CHOICES] if rows else pd.DataFrame(columns=CHOICES)
