"""Bytes of whole files against what is kept: ours, classic codecs in grey and colour, and the paper's points on LFW."""

from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stscq.evaluation.peers.frames import peer_means
from stscq.evaluation.published import published_rows
from stscq.report.collect import Run
from stscq.report.figures.rows import by_seed, shown
from stscq.report.figures.style import ASPECT, BACKBONES, CLASSIC, GREEN, HEIGHT, empty
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import FULL_SIZE, tested_note
from stscq.report.tables.rates import as_people_use_it

PANELS = {"mean_acc": "verification accuracy (%)", "ids_centred": "identity similarity (IDS, centred)"}
"""IDS is centred, so that 0 is anybody, for a classic codec's blur as well; the paper's judge needs no centring."""
JOINED = {"token_specific": "-", "switchable": ":"}
"""Methods whose points of one backbone are joined, and by what; of others there are points alone."""
CEILINGS = {
    "original, {size} pixels": (Run("none", "original", ""), "--"),
    "original, full size": (FULL_SIZE, "-."),
}
PUBLISHED = {"mean_acc": "per_dataset_accuracy", "ids_centred": "per_dataset_ids"}
PUBLISHED_PIXELS = 256**2
TICKS = (4, 8, 16, 32, 50, 100, 200, 400, 800, 1600, 3200)


def rate_peers(s: RunSummary) -> Figure:
    """Means over seeds; bars of ours are their standard deviation. Ours as people use them, the router selecting."""
    points = s.frame("peers.csv")
    if points.empty:
        return empty("no classic codecs in this profile")
    figure, panels = plt.subplots(1, 2, figsize=(2.6 * ASPECT * HEIGHT, 1.75 * HEIGHT))
    for panel, (measure, label) in zip(panels, PANELS.items(), strict=True):
        draw_classic(panel, peer_means(points), measure)
        draw_published(panel, measure)
        draw_ours(panel, s, measure)
        panel.set(xlabel="bytes of a whole file, mean", ylabel=label)
        panel.set_xscale("log")
        low, high = panel.get_xlim()
        ticks = [tick for tick in TICKS if low <= tick <= high]
        panel.set_xticks(ticks, [f"{tick}" for tick in ticks], minor=False)
        panel.minorticks_off()
    draw_ceilings(panels[0], s)
    figure.suptitle(tested_note(s), fontsize="small")
    return with_legend(figure, s)


def draw_classic(panel: Axes, means: pd.DataFrame, measure: str) -> None:
    """A line a codec and colour, which begins and ends where it was measured; dashed in grey."""
    for (codec, colour), line in means.groupby(["codec", "colour"]):
        paint, marker = CLASSIC[str(codec)]
        style = {"color": paint, "marker": marker, "linestyle": "-" if colour == "colour" else "--"}
        panel.plot(line.bytes, line[measure], **style, linewidth=1.2, markersize=4.5, alpha=0.8)


def draw_published(panel: Axes, measure: str) -> None:
    """The paper's points on LFW: bytes of the payload, at 256 x 256 pixels, by its own judge."""
    rows = published_rows(PUBLISHED[measure])
    for method, part in rows.groupby("method"):
        panel.plot(part.bpp * PUBLISHED_PIXELS / 8, part.lfw, **published_style(str(method)))


def published_style(method: str) -> dict[str, Any]:
    filled = "gold" if method == "token_specific" else "white"
    return {"linestyle": "", "marker": "*", "markersize": 13, "markerfacecolor": filled, "markeredgecolor": "black"}


def draw_ours(panel: Axes, s: RunSummary, measure: str) -> None:
    """A point a variant; token-specific ones of a backbone are joined, and switchable ones."""
    runs = shown(s)
    rows = by_seed(s, runs[[as_people_use_it(row) for row in runs.itertuples()]], "file_bytes", measure)
    if rows.empty:
        return
    by_variant = rows.groupby(["backbone", "method", "variant"], sort=False)
    means = by_variant[["file_bytes", measure]].mean().assign(std=by_variant[measure].std().fillna(0.0)).reset_index()
    for backbone, (paint, marker) in backbone_styles(s).items():
        for method, part in means[means.backbone == backbone].sort_values("file_bytes").groupby("method"):
            joined = method in JOINED
            panel.errorbar(
                part.file_bytes, part[measure], part["std"], color=paint, marker=marker, markersize=8 if joined else 5,
                markerfacecolor=paint if joined else "white", linestyle=JOINED.get(str(method), ""), linewidth=2,
                capsize=2, elinewidth=1, zorder=3,
            )  # fmt: skip


def backbone_styles(s: RunSummary) -> dict[str, tuple[str, str]]:
    return dict(zip(dict.fromkeys(s.faces().backbone), cycle(BACKBONES), strict=False))


def draw_ceilings(panel: Axes, s: RunSummary) -> None:
    for run, style in CEILINGS.values():
        if values := s.measured(run, "mean_acc"):
            panel.axhline(float(np.mean(values)), color=GREEN, linestyle=style, linewidth=1.5)


def with_legend(figure: Figure, s: RunSummary) -> Figure:
    """One legend below: ours, classic codecs, what their lines mean, the paper's, ceilings."""
    handles = [
        Line2D([], [], color=paint, marker=marker, markersize=8, linewidth=2, label=f"ours: {backbone}")
        for backbone, (paint, marker) in backbone_styles(s).items()
    ]
    handles += [
        Line2D([], [], color="0.3", linewidth=2, label="ours, solid: token-specific"),
        Line2D([], [], color="0.3", linewidth=2, linestyle=":", label="ours, dotted: switchable"),
        Line2D([], [], color="0.3", linestyle="", marker="o", markerfacecolor="white", markersize=5,
               label="ours, hollow: other variants"),
    ]  # fmt: skip
    known = s.frame("peers.csv").codec.unique()
    handles += [
        Line2D([], [], color=paint, marker=marker, markersize=4.5, linewidth=1.2, label=codec)
        for codec, (paint, marker) in CLASSIC.items()
        if codec in known
    ]
    handles += [
        Line2D([], [], color="0.3", linewidth=1.2, label="classic, solid: colour"),
        Line2D([], [], color="0.3", linewidth=1.2, linestyle="--", label="classic, dashed: grey"),
    ]
    handles += [
        Line2D([], [], label=f"paper on LFW, {name} (judge: ArcFace)", **published_style(method))
        for method, name in (("token_specific", "token-specific"), ("global", "global"))
    ]
    handles += [
        Line2D([], [], color=GREEN, ls=style, linewidth=1.5, label=label.format(size=s.about["size"]))
        for label, (run, style) in CEILINGS.items()
        if s.measured(run, "mean_acc")
    ]
    figure.legend(handles=handles, loc="outside lower center", ncol=3, frameon=False, fontsize="x-small")
    return figure
