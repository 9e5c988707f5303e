"""What all figures share: colours, sizes, panels, and files that are the same for the same numbers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Legible when a page shows a figure at half its size. The salt: the same numbers give the same SVG.
plt.rcParams |= {
    "font.size": 11, "axes.titlesize": 12, "axes.labelsize": 11, "xtick.labelsize": 10, "ytick.labelsize": 10,
    "legend.fontsize": 10, "svg.hashsalt": "stscq", "axes.spines.top": False, "axes.spines.right": False,
}  # fmt: skip

# Okabe and Ito's colours, told apart by colour-blind readers too; markers say the same in black and white.
KINDS = {
    "global_plain": ("#999999", "v", "global, stage 1 only"),
    "global": ("#000000", "o", "global, compute-matched"),
    "token_specific": ("#D55E00", "s", "token-specific"),
    "switchable": ("#0072B2", "^", "switchable"),
    "switchable_nn": ("#CC79A7", "X", "switchable, NN-trained"),
}
CEILING = "#009E73"
SEQUENTIAL = "cividis"
PANEL = (3.7, 3.1)
"""Inches of one panel."""


def kind_of(row: Any) -> str:
    """Key of KINDS, of a row of `Summary.runs`."""
    return "switchable_nn" if row.method == "switchable" and row.training == "nn" else str(row.method)


def grid(names: Sequence[str], columns: int = 2, **options: Any) -> tuple[Figure, dict[str, Axes]]:
    """A panel a name, two in a row."""
    columns = min(columns, len(names))
    lines = -(-len(names) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(PANEL[0] * columns, PANEL[1] * lines), squeeze=False, layout="constrained", **options
    )
    panels = list(axes.flat)
    for spare in panels[len(names) :]:
        spare.set_visible(False)
    for name, panel in zip(names, panels, strict=False):
        panel.set_title(name)
        panel.grid(alpha=0.3)
    return figure, dict(zip(names, panels, strict=False))


def common_legend(figure: Figure, columns: int = 2) -> None:
    """One legend under all panels, each label once."""
    entries: dict[str, Artist] = {}
    for panel in figure.axes:
        handles, labels = panel.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    fitting = max(1, int(figure.get_figwidth() / 2.6))
    if entries:
        figure.legend(
            list(entries.values()), list(entries), loc="outside lower center", ncol=min(columns, fitting), frameon=False
        )


def outer_labels(panels: dict[str, Axes], x: str, y: str) -> None:
    """Axis titles at the left and at the bottom of the grid."""
    for panel in panels.values():
        place = panel.get_subplotspec()
        assert place is not None
        if place.is_first_col():
            panel.set_ylabel(y)
        panel.set_xlabel(x)


def whole_numbers(panels: Iterable[Axes]) -> None:
    """Ticks at whole numbers on the lower axis: groups and tokens are counted."""
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))


def empty(reason: str) -> Figure:
    """A figure that says why there is nothing to show."""
    figure, panel = plt.subplots(figsize=(PANEL[0] * 1.5, 1.2))
    panel.axis("off")
    panel.text(0.5, 0.5, reason, ha="center", va="center", wrap=True)
    return figure


def beside_each_other(n: int, width: float = 0.6) -> np.ndarray:
    """n offsets around 0, for points that would hide each other."""
    return (np.arange(n) - (n - 1) / 2) * width / max(n, 1)


def save(figure: Figure, stem: Path) -> None:
    """STEM.png and STEM.svg, both written whole; without date or version inside."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    for ending, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        partial = stem.parent / f".partial-{stem.name}{ending}"
        figure.savefig(partial, dpi=130, metadata=metadata, format=ending[1:])
        partial.replace(stem.with_suffix(ending))
    plt.close(figure)
