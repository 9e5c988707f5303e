"""How codebooks are used: by token, by group, by the router, by people."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stscq.evaluation.statistics import independence
from stscq.report.figures.rows import RUN, by_seed, images_by_group, ranked, shown
from stscq.report.figures.style import BLUE, HEAT, PALETTE, WIDE, empty, legend_below, lines, panels, whole_numbers
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import rows_of
from stscq.report.tables.people import PEOPLE, compared_runs, contingency


def utilisation_tokens(s: RunSummary) -> Figure:
    """Share of its entries that each token uses, tokens in order of that share: mean, least and most over seeds."""
    runs = shown(s)
    rows = ranked(s, "utilisation_tokens.parquet", runs[runs.method.isin(["global", "token_specific"])], ascending=True)
    grid = lines(
        rows, "backbone", x="rank", y="share", hue="method_name", style="method_name",
        style_order=["token-specific", "global, compute-matched"], palette=PALETTE, errorbar=("pi", 100), linewidth=2,
    )  # fmt: skip
    whole_numbers(grid)
    grid.set(ylim=(0, 105)).set_axis_labels("tokens, least used first", "entries used (%)")
    return legend_below(grid.figure)


def switchable(s: RunSummary) -> pd.DataFrame:
    runs = shown(s)
    return runs[runs.method == "switchable"]


def utilisation_groups(s: RunSummary) -> Figure:
    """Share of a group's (token, entry) in use, groups in order of that share, a row a seed; selection nn."""
    runs = switchable(s)
    runs = runs[runs.selection == "nn"]
    if runs.empty:
        return empty("no switchable codecs in this profile")
    rows = ranked(s, "utilisation_groups.parquet", runs, ascending=False)
    rows["codec"] = rows.codec.str.replace("\n", ", ")
    grid = panels(sns.FacetGrid, rows, "codec", col_wrap=1, height=1.35, aspect=5.5, sharex=False, sharey=False)
    grid.map_dataframe(seeds_and_ranks)
    grid.set_axis_labels("groups, most used first", "seed")
    return with_scale(grid, "entries used (%)")


def seeds_and_ranks(data: pd.DataFrame, **_: Any) -> None:
    """A row a seed; with the numbers themselves where there is room."""
    table = data.pivot(index="seed", columns="rank", values="share")
    few = table.shape[1] <= 16
    heat(table, annot=few, fmt=".0f", annot_kws={"size": 9}, xticklabels=1 if few else table.shape[1] // 8)


def heat(table: pd.DataFrame, **options: Any) -> Axes:
    """Shares in %, on the current panel; pixels in an SVG too: thousands of people would be megabytes of shapes."""
    panel = sns.heatmap(table, **{"rasterized": True, "vmin": 0, "vmax": 100, "cmap": HEAT, "cbar": False, **options})
    panel.tick_params(rotation=0)
    return panel


def with_scale(grid: sns.FacetGrid, label: str) -> Figure:
    """The figure, with one scale of colours beside its heat maps."""
    grid.figure.set_layout_engine("constrained")  # before the scale, or it cannot be set any more
    grid.figure.colorbar(grid.axes.flat[0].collections[0], ax=list(grid.axes.flat), label=label, shrink=0.8)
    return grid.figure


def router_choices(s: RunSummary) -> Figure:
    """Share of images that go to each group, groups in order of that share, a line a seed."""
    runs = switchable(s)
    runs = runs[(runs.selection == "router") | (runs.training == "nn")]
    if runs.empty:
        return empty("no switchable codecs in this profile")
    rows = images_by_group(s, runs)
    rows = rows.groupby([*RUN, "codec", "method_name", "seed", "group"], sort=False).images.sum().reset_index()
    of_seed = rows.groupby([*RUN, "seed"]).images
    rows = rows.assign(
        share=100 * rows.images / of_seed.transform("sum"), rank=of_seed.rank(method="first", ascending=False)
    )
    grid = lines(
        rows, "codec", x="rank", y="share", hue="method_name", palette=PALETTE, units="seed", estimator=None,
        drawstyle="steps-mid", legend=False,
    )  # fmt: skip
    for panel, M in zip(grid.axes.flat, runs.M, strict=True):
        panel.axhline(100 / M, color="0.4", linestyle=":", label="all groups alike")
    whole_numbers(grid)
    grid.set_axis_labels("groups, most selected first", "images (%)")
    return legend_below(grid.figure)


def router_people(s: RunSummary) -> Figure:
    """Share of each test person's images (first seed) that the router sends to each group; people of a label
    together. (The paper's supplementary figure 2.)"""
    runs = switchable(s)
    runs = runs[runs.selection == "router"]
    if runs.empty:
        return empty("no switchable codecs in this profile")
    rows = images_by_group(s, runs)
    rows = rows[rows.seed == s.seeds[0]]
    grid = panels(sns.FacetGrid, rows, "codec", sharex=False, sharey=False)
    grid.map_dataframe(people_and_groups)
    grid.set_axis_labels("codebook group", "")
    return with_scale(grid, "images of a person (%)")


def people_and_groups(data: pd.DataFrame, **_: Any) -> None:
    """People of a label in order of the group that serves most of their images, so that blocks show."""
    counts = data.pivot(index=["label", "person"], columns="group", values="images")
    shares = 100 * counts.div(counts.sum(axis=1), axis=0)
    order = np.lexsort((shares.to_numpy().argmax(1), shares.index.get_level_values("label")))
    panel = heat(shares.iloc[order], yticklabels=False, xticklabels=max(1, shares.shape[1] // 4))
    labels = pd.Series(shares.index.get_level_values("label")[order])
    sizes = labels.groupby(labels, sort=False).size()
    ends = sizes.cumsum()
    panel.hlines(ends[:-1], *panel.get_xlim(), color="black")
    panel.set_yticks(ends - sizes / 2, [(label or "people").replace("_", "\n") for label in sizes.index])


def served(s: RunSummary) -> Figure:
    """Share of the pictures of each ethnic group, and of women and men, that each codebook group serves (first seed).

    The paper's figure 5a."""
    codecs = [(run, row) for run, row in compared_runs(s) if row.M > 1]
    if not codecs:
        return empty("no switchable codecs in this profile")
    counts = s.frame("served.csv")
    if counts.empty:
        return empty(s.absent[0] if s.absent else "no set of faces with ethnic groups in this profile")
    figure, axes = plt.subplots(
        len(codecs), 1, figsize=(WIDE[0], 2.1 * len(codecs)), squeeze=False, layout="constrained"
    )
    for panel, (run, row) in zip(axes[:, 0], codecs, strict=True):
        tables = {by: contingency(counts, run, s.seeds[0], by) for by in PEOPLE}
        parts: list[pd.DataFrame] = [100 * table.div(table.sum(axis=1), axis=0) for table in tables.values()]
        shares = pd.concat(parts).fillna(0)
        few = row.M <= 16
        heat(shares.reindex(columns=range(row.M), fill_value=0), ax=panel, vmax=None, cbar=True, annot=few, fmt=".0f",
             annot_kws={"size": 8}, xticklabels=1 if few else row.M // 8,
             cbar_kws={"label": "pictures (%)"})  # fmt: skip
        panel.hlines(len(tables["ethnicity"]), *panel.get_xlim(), color="black")
        v = {by: independence(table.to_numpy()) for by, table in tables.items()}
        panel.set_title(
            f"{run.backbone}, {row.M} x {row.K}, Cramér's V: "
            + ", ".join(f"{one.cramers_v:.2f} by {by} (chance: {one.by_chance:.2f})" for by, one in v.items()),
            fontsize="small",
        )
        panel.set(ylabel="", xlabel="")
    axes[-1, 0].set_xlabel(f"codebook group (seed {s.seeds[0]})")
    return figure


def selection_agreement(s: RunSummary) -> Figure:
    """How often the router selects the very group of least error, and what that costs in accuracy."""
    runs = switchable(s)
    runs = runs[runs.selection == "router"]
    if runs.empty:
        return empty("no router in this profile")
    figure, (left, right) = plt.subplots(1, 2, sharey=True, figsize=WIDE)
    rows = by_seed(s, runs, "nn_router_agreement")
    rows["agreement"] = 100 * rows.nn_router_agreement
    triangles: dict[str, Any] = {"color": BLUE, "marker": "^"}
    sns.scatterplot(rows, x="agreement", y="codec", s=80, **triangles, label="a seed", legend=False, ax=left)
    left.plot(100 / runs.M, runs.codec, "|", color="0.4", markersize=22, markeredgewidth=2, label="by chance")
    left.set(title="the same group", xlabel="images (%)", ylabel="", xlim=(0, None))
    nothing = dict.fromkeys(("difference", "low", "high"), np.nan)
    costs = pd.DataFrame([s.compared(run, "nn", "mean_acc") or nothing for run, _ in rows_of(runs)])
    reach = [costs.difference - costs.low, costs.high - costs.difference]
    right.errorbar(
        costs.difference, runs.codec, xerr=reach, **triangles, markersize=9, linestyle="", capsize=4,
        label="all seeds, 95 % interval",
    )  # fmt: skip
    right.axvline(0, color="0.4")
    right.set(title="accuracy, router less nn", xlabel="points")
    right.set_ylim(len(runs) - 0.5, -0.5)
    figure.legend(loc="outside lower center", ncol=3, frameon=False)
    return figure
