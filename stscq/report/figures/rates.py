"""Bits against what is kept, and how far seeds are apart."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from stscq.evaluation.published import published_rows
from stscq.report.collect import Run
from stscq.report.figures.rows import by_seed, named, shown
from stscq.report.figures.style import (
    BARS,
    BY_METHOD,
    GREEN,
    PALETTE,
    empty,
    legend_below,
    lines,
    panels,
)
from stscq.report.summary import RunSummary
from stscq.report.tables.codebooks import sweep_runs

LABELS = {"mean_acc": "verification accuracy (%)", "ids": "identity similarity (IDS)"}
REFERENCES = {"mean_acc": ("original", "original (no compression)"), "ids": ("mean_face", "one mean face")}
"""The ceiling of accuracies, the floor of IDS."""


def rate(s: RunSummary, measure: str) -> Figure:
    """Bits a pixel against a measure, one panel a backbone; bars are 95 % intervals of the mean over seeds."""
    runs = shown(s)
    rows = by_seed(s, runs[runs.selection == "nn"], measure)
    # Methods at the same rate stand side by side instead of on top of each other.
    rows["bpp"] *= 1 + 0.02 * (rows.method_name.map(list(PALETTE).index) - 2)
    if s.paper:
        rows = pd.concat([rows, published(measure).query("backbone in @rows.backbone")], ignore_index=True)
    grid = lines(rows, "backbone", x="bpp", y=measure, **BY_METHOD, **BARS)
    reference, text = REFERENCES[measure]
    if values := s.measured(Run("none", reference, ""), measure):
        grid.refline(y=float(np.mean(values)), color=GREEN, label=text)
    for panel in grid.axes.flat:
        panel.margins(x=0.25)
    grid.set_axis_labels("bits per pixel", LABELS[measure])
    return legend_below(grid.figure)


def published(measure: str) -> pd.DataFrame:
    """The paper's points, from all of its tables of accuracy and IDS: backbone, bpp, MEASURE, method_name."""
    rows = pd.concat([published_rows(block) for block in ("main", "ibq", "seeds", "selection_at_inference")])
    rows = rows[(rows.method != "global") & (rows.selection != "router")]
    # Later tables repeat the main one, rounded or from another run.
    return rows.drop_duplicates(["backbone", "bpp"])[["backbone", "bpp", measure]].assign(method_name="published")


def seed_spread(s: RunSummary) -> Figure:
    """Accuracy of every seed, a line a method, and their mean."""
    runs = shown(s)
    rows = by_seed(s, runs[runs.selection == "nn"], "mean_acc")
    order = list(dict.fromkeys(rows.method_name))
    where = {"x": "mean_acc", "y": "method_name", "order": order}
    grid = panels(
        sns.catplot, rows, "backbone", kind="swarm", **where, hue="method_name", palette=PALETTE, size=8, legend=False
    )
    grid.map_dataframe(
        sns.pointplot, **where, color="black", errorbar=None, linestyle="none", marker="|", markersize=22
    )
    grid.set_axis_labels(LABELS["mean_acc"], "")
    return grid.figure


def groups_sweep(s: RunSummary) -> Figure:
    """Accuracy and IDS against the number of groups; bars are 95 % intervals of the mean over seeds."""
    runs = sweep_runs(s)
    if runs.empty:
        return empty("no codecs that differ in the number of groups alone")
    rows = by_seed(s, named(runs), *LABELS).rename(columns=LABELS)
    rows["size"] = rows.backbone + ", K = " + rows.K.astype(str)
    rows = rows.melt(["M", "seed", "size"], list(LABELS.values()), "measure")
    grid = lines(
        rows, "measure", sharey=False, x="M", y="value", hue="size", style="size", markers=True, markersize=8,
        dashes=False, **BARS,
    )  # fmt: skip
    for panel in grid.axes.flat:
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter("{x:.0f}")
    grid.set_axis_labels("groups M", "")
    return legend_below(grid.figure)
