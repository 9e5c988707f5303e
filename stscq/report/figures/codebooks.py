"""How codebooks are used: by token, by group, by the router, by people."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from stscq.report.figures.rows import RUN, by_seed, ranked, shown
from stscq.report.figures.style import (
    ASPECT, BLUE, HEAT, HEIGHT, PALETTE, empty, legend_below, lines, panels_of, whole_numbers,
)  # fmt: skip
from stscq.report.summary import Summary
from stscq.report.tables.cells import rows_of

SHARE = {"vmin": 0, "vmax": 100, "cmap": HEAT, "cbar": False}
"""Options of heat maps of shares in %."""


def utilisation_tokens(s: Summary) -> Figure:
    """Share of its entries that each token uses, tokens in order of that share: mean, least and most over seeds."""
    runs = shown(s)
    rows = ranked(s, "tokens.parquet", runs[runs.method.isin(["global", "token_specific"])], ascending=True)
    grid = lines(
        rows, "backbone", x="rank", y="share", hue="method_name", style="method_name", palette=PALETTE,
        errorbar=("pi", 100), linewidth=2,
    )  # fmt: skip
    whole_numbers(grid)
    grid.set(ylim=(0, 105)).set_axis_labels("tokens, least used first", "entries used (%)")
    return legend_below(grid)


def switchable(s: Summary) -> pd.DataFrame:
    runs = shown(s)
    return runs[runs.M > 1]


def utilisation_groups(s: Summary) -> Figure:
    """Share of a group's (token, entry) in use, groups in order of that share, a line a seed; NN selection."""
    runs = switchable(s)
    runs = runs[runs.selection == "nn"]
    if runs.empty:
        return empty("no switchable codecs in this profile")
    rows = ranked(s, "groups.parquet", runs, ascending=False)
    grid = sns.FacetGrid(rows, **panels_of(rows, "codec"), sharex=False, sharey=False)
    grid.map_dataframe(heat, index="seed", columns="rank")
    grid.set_titles("{col_name}").set_axis_labels("groups, most used first", "seed")
    return with_scale(grid, "entries used (%)")


def heat(data: pd.DataFrame, index: str, columns: str, **_: Any) -> None:
    """A row a value of INDEX, a column a value of COLUMNS; the numbers themselves where there is room."""
    table = data.pivot(index=index, columns=columns, values="share")
    sns.heatmap(table, annot=table.shape[1] <= 16, fmt=".0f", annot_kws={"size": 8}, **SHARE)


def with_scale(grid: sns.FacetGrid, label: str) -> Figure:
    """The figure, with one scale of colours beside its heat maps."""
    panels = grid.axes.flat
    grid.figure.colorbar(panels[0].collections[0], ax=list(panels), label=label, shrink=0.8)
    return grid.figure


def router_choices(s: Summary) -> Figure:
    """Share of images that go to each group, groups in order of that share, a line a seed."""
    runs = switchable(s)
    runs = runs[(runs.selection == "cr") | (runs.training == "nn")]
    if runs.empty:
        return empty("no switchable codecs in this profile")
    rows = chosen(s, runs)
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
    grid.set_axis_labels("groups, most chosen first", "images (%)")
    return legend_below(grid)


def chosen(s: Summary, runs: pd.DataFrame) -> pd.DataFrame:
    """people.parquet of RUNS with a row for every group: run, seed, label, person, group, images (0: none)."""
    people = s.frame("people.parquet").rename(columns={"codebook_group": "group"})
    mine = runs.merge(people, on=RUN)
    everybody = mine.drop(columns=["group", "images"]).drop_duplicates()
    every_group = everybody.loc[everybody.index.repeat(everybody.M)]
    every_group["group"] = every_group.groupby(level=0).cumcount()
    counted = every_group.merge(people, how="left", on=[*RUN, "seed", "label", "person", "group"])
    return counted.assign(images=counted.images.fillna(0))


def router_people(s: Summary) -> Figure:
    """Of each test person's images (first seed) the share that the router sends to each group; people of a label
    together. (The paper's supplementary figure 2.)"""
    runs = switchable(s)
    runs = runs[runs.selection == "cr"]
    if runs.empty:
        return empty("no switchable codecs in this profile")
    rows = chosen(s, runs)
    rows = rows[rows.seed == s.seeds[0]]
    grid = sns.FacetGrid(rows, **panels_of(rows, "codec"), sharex=False, sharey=False)
    grid.map_dataframe(people_and_groups)
    grid.set_titles("{col_name}").set_axis_labels("codebook group", "")
    return with_scale(grid, "images of a person (%)")


def people_and_groups(data: pd.DataFrame, **_: Any) -> None:
    """People of a label in order of the group that serves most of their images, so that blocks show."""
    counts = data.pivot(index=["label", "person"], columns="group", values="images")
    shares = 100 * counts.div(counts.sum(axis=1), axis=0)
    order = np.lexsort((shares.to_numpy().argmax(1), shares.index.get_level_values("label")))
    panel = sns.heatmap(shares.iloc[order], yticklabels=False, **SHARE)
    labels = pd.Series(shares.index.get_level_values("label")[order])
    sizes = labels.groupby(labels, sort=False).size()
    ends = sizes.cumsum()
    panel.hlines(ends[:-1], *panel.get_xlim(), color="black")
    panel.set_yticks(ends - sizes / 2, [(label or "people").replace("_", "\n") for label in sizes.index])


def selection_agreement(s: Summary) -> Figure:
    """How often the router chooses the very group of least error, and what that costs in accuracy."""
    runs = switchable(s)
    runs = runs[runs.selection == "cr"]
    if runs.empty:
        return empty("no router in this profile")
    figure, (left, right) = plt.subplots(1, 2, sharey=True, figsize=(2 * ASPECT * HEIGHT, HEIGHT), layout="constrained")
    rows = by_seed(s, runs, "nn_cr_agreement")
    rows["agreement"] = 100 * rows.nn_cr_agreement
    sns.swarmplot(rows, x="agreement", y="codec", color=BLUE, marker="^", size=8, label="a seed", ax=left)
    left.plot(100 / runs.M, runs.codec, "|", color="0.4", markersize=22, markeredgewidth=2, label="by chance")
    left.set(title="the same group", xlabel="images (%)", ylabel="", xlim=(0, None))
    nothing = dict.fromkeys(("difference", "low", "high"), np.nan)
    costs = pd.DataFrame([s.compared(run, "nn", "mean_acc") or nothing for run, _ in rows_of(runs)])
    reach = [costs.difference - costs.low, costs.high - costs.difference]
    right.errorbar(costs.difference, runs.codec, xerr=reach, color=BLUE, fmt="^", markersize=8, capsize=4,
                   label="all seeds, 95 % interval")  # fmt: skip
    right.axvline(0, color="0.4")
    right.set(title="accuracy, CR less NN", xlabel="points")
    figure.legend(loc="outside lower center", ncol=3)
    return figure
