"""Peers as tidy tables, and the question they answer: how many bytes does a classic codec need to verify as well?"""

import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

KEY = ["codec", "name", "colour", "scale", "quality"]
MEASURED = ["bytes", "bpp", "mean_acc", "ids", "ids_centred", "psnr", "ssim"]


def peer_points(folder: Path, codecs: Sequence[str], sets: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
    """A row for each codec, operating point, set and seed, of FOLDER/CODEC/SET/seedN/metrics.json.

    bytes: of the mean file, header included. smallest_bytes: the smallest file that the codec makes of these faces at
    any size of the picture; smallest_bytes_full_size: without shrinking the picture.
    """
    rows = []
    for codec, image_set, seed in product(codecs, sets, seeds):
        path = folder / codec / image_set / f"seed{seed}" / "metrics.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        common = {"codec": codec, "set": image_set, "seed": seed}
        common |= {key: found[key] for key in ("encoder", "smallest_bytes", "smallest_bytes_full_size")}
        rows += [common | {**point, "bytes": point["file_bytes"]} for point in found["points"]]
    return pd.DataFrame(rows).drop(columns="file_bytes", errors="ignore")


def peer_means(points: pd.DataFrame) -> pd.DataFrame:
    """One row an operating point, smallest files first: means over sets and seeds, and mean_acc_std over seeds."""
    by_seed = points.groupby([*KEY, "seed"], sort=False)["mean_acc"].mean()
    spread = by_seed.groupby(level=KEY, sort=False).std().rename("mean_acc_std")
    smallest = ["smallest_bytes", "smallest_bytes_full_size"]
    means = points.groupby(KEY, sort=False)[[*MEASURED, *smallest]].mean()
    return means.join(spread).reset_index().sort_values(["codec", "bytes"], ignore_index=True)


class Classic(NamedTuple):
    """The cheapest classic file that verifies as well. where: `between` two measured operating points; `smallest`,
    when the smallest one measured already verifies at least as well; `beyond`, when none does (bytes is NaN)."""

    codec: str
    bytes: float
    where: str


def bytes_at(points: pd.DataFrame, mean_acc: float) -> tuple[float, str]:
    """Bytes for an accuracy (%) by one codec's points (bytes, mean_acc), linear in log bytes; and Classic.where.

    Accuracy is first made monotone in bytes by isotonic regression: on few people it may fall by chance, and picking
    the lucky points by their test accuracy would flatter the codec.
    """
    from scipy.optimize import isotonic_regression  # imported here: a third of a second that few tables need

    points = points.sort_values("bytes")
    accuracy = isotonic_regression(points.mean_acc.to_numpy(float)).x
    rising = np.concatenate([[True], np.diff(accuracy) > 0])  # of a plateau the cheapest
    accuracy, size = accuracy[rising], points.bytes.to_numpy(float)[rising]
    if mean_acc <= accuracy[0]:
        return float(size[0]), "smallest"
    if mean_acc > accuracy[-1]:
        return float("nan"), "beyond"
    return float(np.exp(np.interp(mean_acc, accuracy, np.log(size)))), "between"


def best_classic(points: pd.DataFrame, mean_acc: float) -> Classic:
    """Over all codecs of `points` (codec, bytes, mean_acc; one row an operating point)."""
    found = [Classic(str(codec), *bytes_at(own, mean_acc)) for codec, own in points.groupby("codec")]
    reached = [one for one in found if one.where != "beyond"]
    return min(reached, key=lambda one: one.bytes) if reached else Classic("", float("nan"), "beyond")


def against_classic(ours: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """`ours` (columns bytes and mean_acc) with classic_codec, classic_bytes, classic_where, and ours_over_classic.

    ours_over_classic: our bytes divided by those of the best classic codec at equal verification accuracy.
    """
    found = [best_classic(points, value) for value in ours.mean_acc]
    bytes_ = np.array([one.bytes for one in found])
    return ours.assign(
        classic_codec=[one.codec for one in found],
        classic_bytes=bytes_,
        classic_where=[one.where for one in found],
        ours_over_classic=ours.bytes.to_numpy(float) / bytes_,
    )


def against_classic_by_seed(ours: pd.DataFrame, points: pd.DataFrame, key: Iterable[str]) -> pd.DataFrame:
    """`ours`, a row for each seed (columns seed, bytes, mean_acc and those of `key`) -> its means over seeds, compared.

    The comparison is of the means of the same seeds; ratio_low and ratio_high are the least and largest ratio of any
    one seed, in which the same people are behind both sides. NaN where some seed is beyond every classic codec.
    """
    key = list(key)
    means = ours.groupby(key, sort=False)[["bytes", "mean_acc"]].mean().reset_index()
    compared = against_classic(means, peer_means(points[points.seed.isin(ours.seed)]))
    each = pd.concat(
        against_classic(own, points[points.seed == seed].groupby(["codec", "name"])[MEASURED].mean().reset_index())
        for seed, own in ours.groupby("seed")
    )
    ratios = each.groupby(key, sort=False)["ours_over_classic"].agg(
        ratio_low=lambda r: r.min(skipna=False), ratio_high=lambda r: r.max(skipna=False)
    )
    return compared.merge(ratios.reset_index(), on=key)
