"""What goes beyond the paper: where bits go when codebooks are of unequal size."""

from math import isqrt

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stscq.report.figures.style import BLUE, HEAT, empty
from stscq.report.summary import RunSummary

CONVOLUTIONAL = ("maskgit_vqgan", "ibq")
"""Families whose tokens have places in the picture."""


def allocation(s: RunSummary) -> Figure:
    """Bits of each token by the first seed: on the face where tokens have places, else by their sensitivity."""
    table = s.frame("allocation.csv")
    table = table[table.seed == s.seeds[0]]
    if table.empty:
        return empty("no codebooks of unequal size in this profile")
    codecs = list(table.groupby(["backbone", "variant"], sort=False))
    rows = -(-len(codecs) // 4)
    figure, panels = plt.subplots(
        rows, min(4, len(codecs)), figsize=(3 * min(4, len(codecs)), 3.1 * rows), squeeze=False
    )
    for panel, ((backbone, variant), tokens) in zip(panels.flat, codecs, strict=False):
        bits = np.log2(tokens.entries.to_numpy())
        if backbone in CONVOLUTIONAL and isqrt(len(bits)) ** 2 == len(bits):
            on_the_face(panel, bits)
        else:
            by_sensitivity(panel, tokens, bits)
        panel.set_title(f"{backbone}\n{variant}: {bits.sum():.0f} bits", fontsize="small")
    for panel in panels.flat[len(codecs) :]:
        panel.set_axis_off()
    figure.tight_layout()
    return figure


def on_the_face(panel: Axes, bits: np.ndarray) -> None:
    side = isqrt(len(bits))
    grid = bits.reshape(side, side)
    panel.imshow(grid, cmap=HEAT, vmin=0)
    for (y, x), value in np.ndenumerate(grid):
        color = "white" if value > grid.max() / 2 else "black"  # HEAT is dark where there is much
        panel.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=7, color=color)
    panel.set(xticks=[], yticks=[])


def by_sensitivity(panel: Axes, tokens: pd.DataFrame, bits: np.ndarray) -> None:
    order = np.argsort(-tokens.sensitivity.to_numpy(), kind="stable")
    panel.bar(np.arange(len(bits)), bits[order], color=BLUE)
    panel.set_xlabel("tokens, most sensitive first")
    panel.set_ylabel("bits")
