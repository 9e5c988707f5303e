"""Training curves."""

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from stscq.report.figures.rows import named
from stscq.report.figures.style import PALETTE, legend_below
from stscq.report.summary import RunSummary

STAGES = {"stage1_codebooks": "stage 1: codebook loss", "stage2": "stage 2: codebook loss", "stage3": "stage 3: loss"}


def training_curves(s: RunSummary) -> Figure:
    """Loss of the three stages, a row a backbone: mean over seeds, and the band from their least to their most."""
    runs = named(s.claimed())[["backbone", "variant", "method_name"]].drop_duplicates()
    rows = s.frame("curves.parquet").replace({"stage": STAGES}).merge(runs, on=["backbone", "variant"])
    rows = rows[~rows.variant.str.startswith("groups_")]
    grid = sns.relplot(
        rows, kind="line", x="step", y="value", row="backbone", col="stage", hue="method_name", palette=PALETTE,
        errorbar=("pi", 100), height=2.4, aspect=1.25,
        facet_kws={"sharex": False, "sharey": False, "legend_out": False, "margin_titles": True},
    )  # fmt: skip
    for panel in grid.axes.flat:
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_formatter(NullFormatter())
    grid.set_titles(row_template="{row_name}", col_template="{col_name}").set_axis_labels("step", "")
    return legend_below(grid.figure, columns=3)
