"""Peers as tidy tables, and the question they answer: how many bytes does a classic codec need to verify as well?"""

import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

KEY = ["codec", "name", "colour", "side", "quality"]
LINE = ["codec", "colour"]
"""What has points at several rates that may be interpolated between."""
MEASURED = ["bytes", "bpp", "mean_acc", "ids", "ids_centred", "psnr"]


def peer_points(folder: Path, codecs: Sequence[str], sets: Sequence[str]) -> pd.DataFrame:
    """A row for each codec, operating point, set and seed, of FOLDER/CODEC/SET/metrics.json.

    bytes: of the mean file, header included. smallest_bytes: the smallest file that the codec makes of these faces at
    any size of the picture; smallest_bytes_full_size: without shrinking the picture.
    """
    rows = []
    for codec, image_set in product(codecs, sets):
        found = json.loads((folder / codec / image_set / "metrics.json").read_text(encoding="utf-8"))
        common = {"codec": codec, "set": image_set}
        common |= {key: found[key] for key in ("encoder", "smallest_bytes", "smallest_bytes_full_size")}
        rows += [common | {**point, "bytes": point["file_bytes"]} for point in found["points"]]
    return pd.DataFrame(rows).drop(columns="file_bytes", errors="ignore")


def peer_means(points: pd.DataFrame) -> pd.DataFrame:
    """One row an operating point, smallest files first: means over sets and seeds, and mean_acc_std over seeds."""
    by_seed = points.groupby([*KEY, "seed"], sort=False)["mean_acc"].mean()
    spread = by_seed.groupby(level=KEY, sort=False).std().rename("mean_acc_std")
    smallest = ["smallest_bytes", "smallest_bytes_full_size"]
    means = points.groupby(KEY, sort=False)[[*MEASURED, *smallest]].mean()
    return means.join(spread).reset_index().sort_values([*LINE, "bytes"], ignore_index=True)


class Classic(NamedTuple):
    """The cheapest classic file that verifies as well. where: `between` two measured operating points; `smallest`,
    when the smallest one measured already verifies at least as well; `beyond`, when none does (bytes is NaN)."""

    codec: str
    colour: str
    bytes: float
    where: str


def bytes_at(points: pd.DataFrame, mean_acc: float) -> tuple[float, str]:
    """Bytes for an accuracy (%) by the points of one line (bytes, mean_acc), linear in log bytes; and Classic.where.

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
    """Over all codecs, in grey and in colour, of `points` (LINE, bytes, mean_acc; one row an operating point)."""
    found = []
    for (codec, colour), own in points.groupby(LINE):
        size, where = bytes_at(own, mean_acc)
        found.append(Classic(str(codec), str(colour), size, where))
    reached = [one for one in found if one.where != "beyond"]
    return min(reached, key=lambda one: one.bytes) if reached else Classic("", "", float("nan"), "beyond")


def against_classic(ours: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """`ours` (columns bytes and mean_acc) with classic_codec, classic_colour, classic_bytes, classic_where, and
    ours_over_classic.

    ours_over_classic: our bytes divided by those of the best classic codec at equal verification accuracy.
    """
    found = [best_classic(points, value) for value in ours.mean_acc]
    bytes_ = np.array([one.bytes for one in found])
    return ours.assign(
        classic_codec=[one.codec for one in found],
        classic_colour=[one.colour for one in found],
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
        against_classic(own, points[points.seed == seed].groupby([*LINE, "name"])[MEASURED].mean().reset_index())
        for seed, own in ours.groupby("seed")
    )
    ratios = each.groupby(key, sort=False)["ours_over_classic"].agg(
        ratio_low=lambda r: r.min(skipna=False), ratio_high=lambda r: r.max(skipna=False)
    )
    return compared.merge(ratios.reset_index(), on=key)


FIFTH = 0.2
"""The share of the best classic codec's bytes that ours are to stay below, at equal accuracy."""


class Reach(NamedTuple):
    """Of the points of one backbone: how many there are, how many a classic codec equals in accuracy (`between` two of
    its own), how many of these take at most FIFTH of its bytes; the least and the largest ratio (NaN without any)."""

    points: int
    equalled: int
    fifth: int
    least: float
    largest: float


def reach(compared: pd.DataFrame) -> Reach:
    """From rows of `against_classic`. Points that a classic codec's smallest file beats, or that none reaches, do not
    count: nothing was measured at equal accuracy there."""
    ratios = compared.ours_over_classic[compared.classic_where == "between"]
    return Reach(len(compared), len(ratios), int((ratios <= FIFTH).sum()), float(ratios.min()), float(ratios.max()))
