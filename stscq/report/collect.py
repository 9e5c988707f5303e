"""All evaluations of a run as one table, and paired differences between any two of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stscq.evaluation.statistics import Paired, paired_bootstrap

IDENTITY = ["mean_acc", "ids", "ids_centred"]
"""Is the person kept? The rest of MEASURES asks about the picture."""
MEASURES = [*IDENTITY, "psnr", "ssim"]


class Run(NamedTuple):
    """One way of coding, over all seeds."""

    backbone: str
    variant: str
    selection: str


class Evaluations(NamedTuple):
    """Where the evaluations are, of which seeds, and what each variant is (the `variants` of params.yaml)."""

    folder: Path
    seeds: Sequence[int]
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def path(self, run: Run, seed: int, name: str) -> Path:
        return self.folder / run.backbone / run.variant / f"seed{seed}" / name

    def runs(self) -> list[Run]:
        """In the order of params.yaml; the plain baseline of a backbone first, NN before CR."""
        found = []
        for backbone, variants in self.variants.items():
            found.append(Run(backbone, "stage1", "nn"))
            for variant, v in variants.items():
                found += [Run(backbone, variant, s) for s in (("nn", "cr") if v["training"] == "router" else ("nn",))]
        return found

    def describe(self, run: Run) -> dict[str, Any]:
        """What a reader needs to know of a run: method, M, K, how groups were selected in training."""
        first = self.metrics(run, self.seeds[0])
        if run.variant == "stage1":
            return {"method": "global_plain", "M": 1, "training": "nn", "published": None, "bpp": first["bpp"]}
        v = self.variants[run.backbone][run.variant]
        chosen = {key: v[key] for key in ("M", "K", "training", "published")}
        return {"method": method(v), **chosen, "bpp": first["bpp"]}

    def metrics(self, run: Run, seed: int) -> dict[str, Any]:
        everything = json.loads(self.path(run, seed, "metrics.json").read_text(encoding="utf-8"))
        found: dict[str, Any] = everything["selections"][run.selection]
        return found

    def values(self, run: Run, measure: str) -> list[float]:
        """One number a seed."""
        return [self.metrics(run, seed)[measure] for seed in self.seeds]

    def original(self, seed: int) -> dict[str, Any]:
        """The metrics of the uncompressed images, and of the mean face of the training people."""
        path = self.folder / "original" / f"seed{seed}" / "metrics.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def original_accuracy(self) -> list[float]:
        return [self.original(seed)["mean_acc"] for seed in self.seeds]

    def selected(self, run: Run, seed: int, name: str) -> pd.DataFrame:
        frame = pd.read_parquet(self.path(run, seed, name))
        return frame[frame.selection == run.selection].reset_index(drop=True)

    def compare_accuracy(self, run: Run, baseline: Run) -> Paired:
        """Difference in the share of correct pairs, in points."""
        frames = []
        for seed in self.seeds:
            ours, theirs = (self.selected(r, seed, "pairs.parquet") for r in (run, baseline))
            identity = self.selected(run, seed, "images.parquet").set_index("row").identity
            both = ours.merge(theirs, on=["a", "b", "fold"], validate="one_to_one", suffixes=("", "_theirs"))
            value = 100.0 * (both.correct.astype(float) - both.correct_theirs.astype(float))
            frames.append(pd.DataFrame({"value": value, "first": both.a.map(identity), "second": both.b.map(identity)}))
        return paired_bootstrap(pd.concat(frames))

    def compare_images(self, run: Run, baseline: Run, measure: str) -> Paired:
        """Difference of a per-image measure (ids, ids_centred, psnr, ssim)."""
        frames = []
        for seed in self.seeds:
            ours, theirs = (self.selected(r, seed, "images.parquet") for r in (run, baseline))
            both = ours.merge(theirs, on=["row", "identity"], validate="one_to_one", suffixes=("", "_theirs"))
            value = both[measure] - both[f"{measure}_theirs"]
            frames.append(pd.DataFrame({"value": value, "first": both.identity, "second": both.identity}))
        return paired_bootstrap(pd.concat(frames))


def method(variant: Mapping[str, Any]) -> str:
    if variant["shared"]:
        return "global"
    return "token_specific" if variant["M"] == 1 else "switchable"
