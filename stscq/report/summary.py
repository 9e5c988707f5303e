"""What stscq.report.summarise wrote, for tables, figures and claims: runs, numbers, and differences between runs."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stscq.errors import DataError
from stscq.evaluation.statistics import Paired
from stscq.report.collect import Run

OWN_SET = "test"
"""The test people of our own split, among the sets."""


class RunSummary(NamedTuple):
    """folder: of the files; runs: a row a run (of faces and of pictures); values, comparisons: see `summarise`."""

    folder: Path
    about: dict[str, Any]
    runs: pd.DataFrame
    values: pd.DataFrame
    comparisons: pd.DataFrame

    @property
    def seeds(self) -> list[int]:
        return list(self.about["seeds"])

    @property
    def sets(self) -> list[str]:
        """The sets of faces that MeanAcc is a mean over."""
        return list(self.about["sets"]["faces"])

    @property
    def paper(self) -> bool:
        """Is this the paper's own experiment, so that a difference to a published number means something?"""
        return str(self.about["profile"]).startswith("paper")

    @property
    def absent(self) -> list[str]:
        """Why cells about optional sets are empty: a sentence a set that this run was without."""
        found: dict[str, str] = self.about.get("absent", {})
        return [
            f"{name} is not here: nothing at sets.{name}.source = {source}; docs/lfw.md says what it is."
            for name, source in found.items()
        ]

    def own_sets(self, backbone: str) -> list[str]:
        """The sets that a backbone is evaluated on."""
        return list(self.about["sets"].get(backbone, self.sets))

    def claimed(self) -> pd.DataFrame:
        """All runs but those outside all claims: what the judge taught, unequal codebooks, encoders with effort."""
        return self.runs[~self.runs.outside_claims]

    def faces(self) -> pd.DataFrame:
        """The runs on faces, those outside all claims left out: whoever wants these asks for `taught`, `unequal`..."""
        return self.claimed()[~self.claimed().backbone.isin(self.about["sets"])]

    def taught(self) -> pd.DataFrame:
        """The runs whose decoders the judge taught: outside all claims, to be shown with a mark."""
        return self.runs[self.runs.outside_claims & self.runs.power.isna() & (self.runs.effort == 0)]

    def unequal(self) -> pd.DataFrame:
        """The runs of codebooks of unequal size, which are ours and not the paper's."""
        return self.runs[self.runs.power.notna() & (self.runs.effort == 0)]

    def searched(self) -> pd.DataFrame:
        """The runs whose encoder looks for entries that show the person, instead of the nearest: ours as well."""
        return self.runs[self.runs.effort > 0]

    def pictures(self) -> pd.DataFrame:
        """The runs of backbones that train on pictures of anything."""
        return self.claimed()[self.claimed().backbone.isin(self.about["sets"])]

    def by_second_judge(self) -> "RunSummary":
        """With the numbers and differences that the recogniser of training gives, of the few runs it judged."""
        values, comparisons = self.frame("second_values.parquet"), self.frame("second_comparisons.csv")
        return self._replace(values=values, comparisons=comparisons)

    def measured(self, run: Run, measure: str, sets: Sequence[str] | None = None, protocol: str = "") -> list[float]:
        """One number a seed, the mean over the sets; none where some set was evaluated without this measure."""
        sets = self.own_sets(run.backbone) if sets is None else sets
        v = of_run(self.values, run)
        v = v[(v.measure == measure) & (v.protocol == protocol) & v["set"].isin(sets)]
        table = v.pivot_table(index="seed", columns="set", values="value")
        if table.shape != (len(self.seeds), len(sets)) or table.isna().to_numpy().any():
            return []
        return [float(mean) for mean in table.mean(axis=1)]

    def compared(self, run: Run, versus: str, measure: str) -> dict[str, float] | None:
        """difference, low, high, p, people of a run against one of its references; None where it has none."""
        c = of_run(self.comparisons, run)
        c = c[(c.versus == versus) & (c.measure == measure)]
        return None if c.empty else {name: float(c[name].iloc[0]) for name in Paired._fields}

    def frame(self, name: str) -> pd.DataFrame:
        """One of the further files, such as people.parquet. Raises DataError when it is missing."""
        path = self.folder / name
        if not path.is_file():
            raise DataError(f"{path}: missing; run the rule summarise")
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path) if path.stat().st_size > 1 else pd.DataFrame()  # a file of no columns is a line end


def of_run(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The rows of a frame (columns backbone, variant, selection) that belong to one run."""
    return frame[(frame.backbone == run.backbone) & (frame.variant == run.variant) & (frame.selection == run.selection)]


def run_of(row: Any) -> Run:
    """From a row of `runs` (itertuples)."""
    return Run(row.backbone, row.variant, row.selection)


def read_summary(folder: Path) -> RunSummary:
    """Raises DataError when the folder is not what stscq.report.summarise writes."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        runs = pd.read_csv(folder / "runs.csv").astype({"published_M": "Int64", "published_K": "Int64"})
        comparisons = pd.read_csv(folder / "comparisons.csv")
        values = pd.read_parquet(folder / "values.parquet")
    except (OSError, ValueError, KeyError) as problem:
        raise DataError(f"{folder}: not a summary ({problem}); run the rule summarise") from problem
    return RunSummary(folder, about, runs, values, comparisons)


def spread_over(values: np.ndarray) -> float:
    """Population standard deviation, as the paper takes over tokens and over groups of people."""
    return float(np.std(values))
