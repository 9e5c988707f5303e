"""What all figures share: the theme, a method's colour and marker, panels, and files that are the same for the same
numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from stscq.evaluation.statistics import summarise
from stscq.files import atomically

matplotlib.use("Agg")
# Set once, legible when a page shows a figure at half its size. The font is the one that matplotlib brings along, and
# the salt gives the same SVG for the same numbers.
sns.set_theme(
    style="whitegrid",
    palette="colorblind", font="DejaVu Sans",
    rc={"svg.hashsalt": "stscq", "savefig.dpi": 130, "axes.edgecolor": "black", "grid.color": "0.9",
        "axes.spines.top": False, "axes.spines.right": False},
)  # fmt: skip

# Told apart by colour-blind readers too; markers say the same in black and white.
BLUE, ORANGE, GREEN, RED, PURPLE, BROWN, _, GREY, _, SKY = sns.color_palette("colorblind").as_hex()
STYLES = {
    "tokenizer, pretrained": (BROWN, "<"),
    "tokenizer, fine-tuned": (GREY, "v"),
    "global, compute-matched": ("black", "o"),
    "token-specific": (RED, "s"),
    "switchable, token-shared": (GREEN, "P"),
    "switchable": (BLUE, "^"),
    "switchable, nn-trained": (PURPLE, "X"),
    "published": (SKY, "D"),
}
PALETTE = {name: colour for name, (colour, _) in STYLES.items()}
BY_METHOD: dict[str, Any] = {
    "hue": "method_name", "style": "method_name", "palette": PALETTE, "dashes": False, "markersize": 8,
    "markeredgecolor": "none",
    "markers": {name: marker for name, (_, marker) in STYLES.items()},
}  # fmt: skip
"""Options of seaborn's line plots: a colour and a marker a method."""
CLASSIC = {
    "avif": (ORANGE, "<"), "heic": (SKY, ">"), "jpeg": (GREEN, "D"), "jpeg2000": (PURPLE, "h"), "jpegxl": (GREY, "P"),
    "webp": (BROWN, "*"),
}  # fmt: skip
"""A colour and a marker a classic codec."""
BACKBONES = ((RED, "s"), (BLUE, "^"), ("black", "o"), ("indigo", "v"))
"""The same of backbones, in the order of params.yaml."""
HEAT = "mako_r"
"""Colours of shares, the lightest for none."""
HEIGHT, ASPECT = 3.4, 1.1
"""Inches of one panel, and its width over its height."""
WIDE = (2 * ASPECT * HEIGHT, 1.4 * HEIGHT)
"""Inches of a figure without a grid of panels."""


def panels(maker: Callable[..., sns.FacetGrid], rows: pd.DataFrame, column: str, **options: Any) -> sns.FacetGrid:
    """One of seaborn's grids of ROWS: a panel a value of COLUMN, its name above, two beside each other."""
    beside = min(2, rows[column].nunique())
    grid = maker(rows, **{"col": column, "col_wrap": beside, "height": HEIGHT, "aspect": ASPECT, **options})
    return grid.set_titles("{col_name}")


def lines(rows: pd.DataFrame, column: str, sharey: bool = True, **options: Any) -> sns.FacetGrid:
    sharing = {"sharex": False, "sharey": sharey, "legend_out": False}
    return panels(sns.relplot, rows, column, kind="line", facet_kws=sharing, **options)


def bars(values: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean over seeds, for seaborn's `errorbar`."""
    s = summarise(np.asarray(values))
    return s.low, s.high


BARS: dict[str, Any] = {"errorbar": bars, "err_style": "bars", "err_kws": {"capsize": 3}}


def legend_below(figure: Figure, columns: int = 2) -> Figure:
    """The figure, with one legend below for what its first panel has labels for."""
    first = figure.axes[0]
    handles, labels = first.get_legend_handles_labels()
    if own := first.get_legend():
        own.remove()
    figure.legend(handles, labels, loc="outside lower center", ncol=columns, frameon=False)
    return figure


def whole_numbers(grid: sns.FacetGrid) -> None:
    """Ticks at whole numbers on the lower axes: groups and tokens are counted."""
    for panel in grid.axes.flat:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def empty(reason: str) -> Figure:
    """A figure that says why there is nothing to show."""
    figure = plt.figure(figsize=(6, 1))
    figure.text(0.5, 0.5, reason, ha="center", va="center")
    return figure


def save(figure: Figure, stem: Path) -> None:
    """STEM.png and STEM.svg, both written whole; without date or version inside."""
    figure.set_layout_engine("constrained")  # instead of seaborn's: it makes room for legends and scales of a figure
    for ending, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        with atomically(stem.with_suffix(ending)) as partial:
            figure.savefig(partial, metadata=metadata, format=ending[1:])
    plt.close(figure)
