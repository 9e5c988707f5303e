"""Bits an image under each model of the symbols, as a tidy table."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

from stscq.evaluation.statistics import paired_bootstrap

MODELS = ("fixed", "pooled", "position", "group", "group_position", "neighbours", "mixture", "codec")


def symbols_frame(
    folder: Path, runs: Sequence[tuple[str, str]], sets: Sequence[str], seeds: Sequence[int]
) -> pd.DataFrame:
    """A row for each (backbone, variant) of `runs`, set, seed and model: bits an image, and % of fixed length.

    Reads FOLDER/BACKBONE/VARIANT/SET/seedN/metrics.json. `oracle_position` is no model: the entropy of each token on
    the test images themselves, below which nothing comes that knows only the position.
    """
    rows = []
    for (backbone, variant), image_set, seed in product(runs, sets, seeds):
        path = folder / backbone / variant / image_set / f"seed{seed}" / "metrics.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        length = {name: found["models"][name]["bits"] for name in MODELS}
        length["oracle_position"] = found["oracle_position"]["bits"]
        common = {"backbone": backbone, "variant": variant, "set": image_set, "seed": seed}
        rows += [
            {**common, "model": name, "bits": bits, "percent": 100 * bits / found["fixed_bits"]}
            for name, bits in length.items()
        ]
    return pd.DataFrame(rows)


def symbols_means(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a (backbone, variant): means over sets and seeds, fixed_bits and a column of % for each model, each with
    its standard deviation over seeds as NAME_std.
    """
    pairs = frame.pivot_table(index=["backbone", "variant"], columns="model", values=["bits", "percent"], sort=False)
    percent = pairs["percent"][[*MODELS[1:], "oracle_position"]].add_suffix("_percent")
    key = ["backbone", "variant"]
    by_seed = frame.pivot_table(index=[*key, "seed"], columns="model", values="percent")
    spread = by_seed.groupby(level=key).std().add_suffix("_percent_std")
    columns = [part for name in percent for part in (percent[name], spread[f"{name}_std"])]
    return pd.concat([pairs["bits"]["fixed"].rename("fixed_bits"), *columns], axis=1).reset_index()


def symbols_saved(
    folder: Path, run: tuple[str, str], sets: Sequence[str], seeds: Sequence[int], model: str, baseline: str
) -> pd.DataFrame:
    """One row: bits an image that `model` saves over `baseline`, with its 95 % bootstrap interval over test people.

    All sets and seeds together, from images.parquet.
    """
    frames = []
    for image_set, seed in product(sets, seeds):
        images = pd.read_parquet(folder / run[0] / run[1] / image_set / f"seed{seed}" / "images.parquet")
        wide = images.pivot(index=["row", "identity"], columns="model", values="bits").reset_index()
        person = image_set + "/" + wide.identity.astype(str)
        people = {"first": person, "second": person, "stratum": image_set, "weight": 1 / len(wide)}
        frames.append(pd.DataFrame({"value": wide[baseline] - wide[model], **people}))
    saved = paired_bootstrap(pd.concat(frames))
    return pd.DataFrame(
        [{"backbone": run[0], "variant": run[1], "model": model, "baseline": baseline, **saved._asdict()}]
    )
