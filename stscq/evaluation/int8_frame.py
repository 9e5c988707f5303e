"""int8 codebooks as tidy tables: beside float32 on the same faces."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pandas as pd

SIZES = ["M", "K", "float32_mib", "int8_mib"]
"""The same in all seeds."""
EFFECTS = ("mean_acc", "ids", "ids_centred", "psnr", "ssim")


def int8_frame(
    int8: Path, evaluation: Path, runs: Sequence[tuple[str, str]], sets: Sequence[str], seeds: Sequence[int]
) -> pd.DataFrame:
    """A row for each (backbone, variant) of `runs`, set and seed.

    Reads INT8/BACKBONE/VARIANT/SET/seedN/metrics.json and its twin below EVALUATION, with float32 codebooks and
    the same selection. Columns: sizes, agreement, and each of EFFECTS with int8, and int8 minus float32 (_change).
    """
    rows = []
    for (backbone, variant), image_set, seed in product(runs, sets, seeds):
        place = Path(backbone, variant, image_set, f"seed{seed}", "metrics.json")
        narrow = json.loads((int8 / place).read_text(encoding="utf-8"))
        wide = json.loads((evaluation / place).read_text(encoding="utf-8"))["selections"][narrow["selection"]]
        own = {key: value for key, value in narrow.items() if key not in ("protocols", "images")}
        changes = {f"{name}_change": narrow[name] - wide[name] for name in EFFECTS}
        rows.append({"backbone": backbone, "variant": variant, "set": image_set, "seed": seed, **own, **changes})
    return pd.DataFrame(rows)


def int8_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over sets and seeds, one row a (backbone, variant), each with its standard deviation over seeds (_std)."""
    key = ["backbone", "variant", "selection"]
    by_seed = frame.groupby([*key, "seed"], sort=False).mean(numeric_only=True)
    of_seeds = by_seed.groupby(level=key, sort=False)
    means, spread = of_seeds.mean(), of_seeds.std().drop(columns=SIZES, errors="ignore").add_suffix("_std")
    columns = [part for name in means for part in (means.get(name), spread.get(f"{name}_std")) if part is not None]
    return pd.concat(columns, axis=1).reset_index()
