"""All evaluations of a run as one table, and paired differences between any two of them."""

import json
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stscq.evaluation.statistics import Paired, paired_bootstrap
from stscq.params import outside_claims, twin

IDENTITY = ("mean_acc", "ids", "ids_centred")
"""Is the person kept? The rest of MEASURES asks about the picture."""
MEASURES = (*IDENTITY, "psnr", "ssim")


class Run(NamedTuple):
    """One way of coding, over all seeds."""

    backbone: str
    variant: str
    selection: str


class Evaluations(NamedTuple):
    """Where the evaluations are, of which seeds, on which sets, and what each variant is (`variants` of params.yaml).

    tokenizers: of each backbone those that are evaluated without further training, and their K. A measure of a run is
    its mean over `sets`. `on` gives the same evaluations on other sets or of other backbones.
    """

    folder: Path
    seeds: Sequence[int]
    sets: Sequence[str]
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]]
    tokenizers: Mapping[str, Mapping[str, int]]

    def on(self, sets: Sequence[str]) -> "Evaluations":
        return self._replace(sets=sets)

    def claimed(self) -> "Evaluations":
        """Without the variants outside all claims."""
        kept = {b: {n: v for n, v in vs.items() if not outside_claims(v)} for b, vs in self.variants.items()}
        return self._replace(variants=kept)

    def judged_twice(self) -> "Evaluations":
        """Only the variants outside all claims, each after its twin."""
        kept = {}
        for backbone, variants in self.variants.items():
            outside = [name for name, v in variants.items() if outside_claims(v)]
            names = {twin(variants, name) for name in outside} | set(outside)
            kept[backbone] = {name: v for name, v in variants.items() if name in names}
        return self._replace(variants=kept, tokenizers={backbone: {} for backbone in self.variants})

    def path(self, run: Run, seed: int, image_set: str, name: str) -> Path:
        return self.folder / run.backbone / run.variant / image_set / f"seed{seed}" / name

    def runs(self) -> list[Run]:
        """In the order of params.yaml; the tokenizer of stage 1 first, nn before router."""
        found = []
        for backbone, variants in self.variants.items():
            found += [Run(backbone, tokenizer, "nn") for tokenizer in self.tokenizers[backbone]]
            for variant, v in variants.items():
                selections = ("nn", "router") if v["training"] == "router" else ("nn",)
                found += [Run(backbone, variant, selection) for selection in selections]
        return found

    def everything(self, run: Run, seed: int, image_set: str) -> dict[str, Any]:
        """One metrics.json."""
        path = self.path(run, seed, image_set, "metrics.json")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def metrics(self, run: Run, seed: int, image_set: str) -> dict[str, Any]:
        found: dict[str, Any] = self.everything(run, seed, image_set)["selections"][run.selection]
        return found

    def missing(self, run: Run) -> dict[str, str]:
        """Measures that could not be had in some evaluation of a run, and why."""
        reasons: dict[str, str] = {}
        for seed in self.seeds:
            for image_set in self.sets:
                reasons |= self.everything(run, seed, image_set)["missing"]
        return reasons

    def original(self, seed: int, image_set: str) -> dict[str, Any]:
        """The metrics of the uncompressed images, and of the mean face of the training people."""
        path = self.folder / "original" / image_set / f"seed{seed}" / "metrics.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def selected(self, run: Run, seed: int, image_set: str, name: str) -> pd.DataFrame:
        """Rows of a Parquet file of an evaluation that belong to the selection of `run`."""
        frame = pd.read_parquet(self.path(run, seed, image_set, name))
        return frame[frame.selection == run.selection].reset_index(drop=True)

    def pairs(self, run: Run, seed: int, image_set: str) -> pd.DataFrame:
        """The judged pairs of the protocol that counts for MeanAcc: the drawn or the published ones."""
        frame = self.selected(run, seed, image_set, "pairs.parquet")
        return frame[frame.protocol == frame.protocol.iloc[0]]

    def compare_accuracy(self, run: Run, baseline: Run) -> Paired:
        """Difference in the share of correct pairs, in points."""
        frames = []
        for seed, s in product(self.seeds, self.sets):
            ours, theirs = (self.pairs(r, seed, s) for r in (run, baseline))
            person = self.selected(run, seed, s, "images.parquet").set_index("row").identity
            both = ours.merge(theirs, on=["a", "b", "fold"], validate="one_to_one", suffixes=("", "_theirs"))
            value = 100.0 * (both.correct.astype(float) - both.correct_theirs.astype(float))
            frames.append(differences(s, value, both.a.map(person), both.b.map(person)))
        return paired_bootstrap(pd.concat(frames))

    def compare_images(self, run: Run, baseline: Run, measures: Sequence[str]) -> dict[str, Paired]:
        """Difference of each of some per-image measures (ids, ids_centred, psnr, ssim)."""
        frames: dict[str, list[pd.DataFrame]] = {measure: [] for measure in measures}
        for seed, s in product(self.seeds, self.sets):
            ours, theirs = (self.selected(r, seed, s, "images.parquet") for r in (run, baseline))
            both = ours.merge(theirs, on=["row", "identity"], validate="one_to_one", suffixes=("", "_theirs"))
            for measure in measures:
                value = both[measure] - both[f"{measure}_theirs"]
                frames[measure].append(differences(s, value, both.identity, both.identity))
        return {measure: paired_bootstrap(pd.concat(found)) for measure, found in frames.items()}


def differences(image_set: str, value: pd.Series, first: pd.Series, second: pd.Series) -> pd.DataFrame:
    """For `paired_bootstrap`: every set weighs the same, and people of different sets are different people.

    A stratum is a set's images, or its genuine, or its impostor pairs."""
    return pd.DataFrame(
        {
            "value": value,
            "first": image_set + "/" + first.astype(str),
            "second": image_set + "/" + second.astype(str),
            "stratum": np.where(first.to_numpy() == second.to_numpy(), f"{image_set}/same", f"{image_set}/different"),
            "weight": 1.0 / len(value),
        }
    )
