"""int8 codebooks as tidy tables: beside float32 on the same faces, and what they weigh at any size."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from stscq.codec.int8 import int8_mib
from stscq.evaluation.cost import codebooks_mib, on_meta

EFFECTS = ("mean_acc", "ids", "ids_centred", "psnr", "ssim")


def int8_frame(
    int8: Path, evaluation: Path, runs: Sequence[tuple[str, str]], sets: Sequence[str], seeds: Sequence[int]
) -> pd.DataFrame:
    """A row for each (backbone, variant) of `runs`, set and seed.

    Reads INT8/BACKBONE/VARIANT/SET/seedN/metrics.json and its twin below EVALUATION, with float32 books and the same
    selection. Columns: sizes, agreement, and for each of EFFECTS its value with int8 and int8 minus float32 (_change).
    """
    rows = []
    for backbone, variant in runs:
        for image_set in sets:
            for seed in seeds:
                place = Path(backbone, variant, image_set, f"seed{seed}", "metrics.json")
                narrow = json.loads((int8 / place).read_text(encoding="utf-8"))
                wide = json.loads((evaluation / place).read_text(encoding="utf-8"))["selections"][narrow["selection"]]
                own = {key: value for key, value in narrow.items() if key not in ("protocols", "images")}
                changes = {f"{name}_change": narrow[name] - wide[name] for name in EFFECTS}
                rows.append(
                    {"backbone": backbone, "variant": variant, "set": image_set, "seed": seed, **own, **changes}
                )
    return pd.DataFrame(rows)


def int8_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over sets and seeds, one row a (backbone, variant); mean_acc_change_std is over seeds."""
    key = ["backbone", "variant", "selection"]
    means = frame.groupby(key, sort=False).mean(numeric_only=True).drop(columns="seed")
    by_seed = frame.groupby([*key, "seed"], sort=False).mean_acc_change.mean()
    return means.join(by_seed.groupby(level=key, sort=False).std().rename("mean_acc_change_std")).reset_index()


def int8_sizes(backbones: Mapping[str, Any], image_size: int) -> pd.DataFrame:
    """MiB of the codebooks of every variant of params.yaml's (or the paper profile's) `backbones`; nothing is computed.

    one_group_*: of the books that the router picked, all that a sender with CR holds.
    """
    rows = []
    for name, backbone in backbones.items():
        tokenizer = on_meta({**backbone["model"], "image_size": image_size})
        for variant, v in backbone["variants"].items():
            size = (1 if v["shared"] else tokenizer.T, v["K"], tokenizer.d)
            rows.append(
                {
                    "backbone": name,
                    "variant": variant,
                    "float32_mib": codebooks_mib(v["M"], *size),
                    "int8_mib": int8_mib(v["M"], *size),
                    "one_group_float32_mib": codebooks_mib(1, *size),
                    "one_group_int8_mib": int8_mib(1, *size),
                }
            )
    return pd.DataFrame(rows)
