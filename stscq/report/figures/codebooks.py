"""How codebooks are used: by token, by group, by the router, by people."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stscq.report.collect import Run
from stscq.report.figures.style import (
    KINDS,
    PANEL,
    SEQUENTIAL,
    beside_each_other,
    common_legend,
    empty,
    grid,
    outer_labels,
    whole_numbers,
)
from stscq.report.summary import Summary
from stscq.report.tables.cells import rows_of


def of_run(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    return frame[(frame.backbone == run.backbone) & (frame.variant == run.variant) & (frame.selection == run.selection)]


def utilisation_tokens(s: Summary) -> Figure:
    """Share of its entries that each token uses, tokens in order of that share; mean over seeds."""
    tokens = s.frame("tokens.parquet")
    tokens = tokens[tokens["set"] == s.sets[0]]
    faces = s.faces()
    chosen = faces[faces.method.isin(["global", "token_specific"]) & ~faces.variant.str.startswith("groups_")]
    figure, panels = grid(list(dict.fromkeys(faces.backbone)), sharey=True)
    for run, row in rows_of(chosen):
        mine = of_run(tokens, run).pivot(index="token", columns="seed", values="share")
        shares = 100 * np.sort(mine.to_numpy(), axis=0)
        colour, _, label = KINDS[row.method]
        panel = panels[run.backbone]
        panel.plot(np.arange(1, len(shares) + 1), shares.mean(1), color=colour, linewidth=2, label=label,
                   linestyle="-" if row.method == "token_specific" else "--")  # fmt: skip
        panel.fill_between(np.arange(1, len(shares) + 1), shares.min(1), shares.max(1), color=colour, alpha=0.15)
    for panel in panels.values():
        panel.set_ylim(0, 105)
    whole_numbers(panels.values())
    outer_labels(panels, "tokens, least used first", "entries used (%)")
    common_legend(figure)
    return figure


def switchable(s: Summary) -> pd.DataFrame:
    """Switchable codecs, in the order of params.yaml, the sweep of groups apart."""
    faces = s.faces()
    return faces[(faces.M > 1) & ~faces.variant.str.startswith("groups_")]


def names_of(runs: pd.DataFrame) -> list[str]:
    how = {"router": "router-trained", "nn": "NN-trained"}
    return [f"{r.backbone}, {r.M} x {r.K}\n{how[str(r.training)]}" for r in runs.itertuples()]


def utilisation_groups(s: Summary) -> Figure:
    """Share of a group's (token, entry) in use, groups in order of that share, all seeds; NN selection."""
    runs = switchable(s)
    runs = runs[runs.selection == "nn"]
    if runs.empty:
        return empty("no switchable codecs in this profile")
    groups = s.frame("groups.parquet")
    groups = groups[groups["set"] == s.sets[0]]
    figure, panels = grid(names_of(runs), sharey=True)
    for panel, (run, _) in zip(panels.values(), rows_of(runs), strict=True):
        mine = of_run(groups, run).pivot(index="group", columns="seed", values="share")
        shares = 100 * np.sort(mine.to_numpy(), axis=0)[::-1]
        for column in shares.T:
            panel.step(np.arange(1, len(column) + 1), column, where="mid", color=KINDS["switchable"][0], alpha=0.8)
    whole_numbers(panels.values())
    outer_labels(panels, "groups, most used first", "entries used (%)")
    return figure


def router_choices(s: Summary) -> Figure:
    """Share of images that go to each group, groups in order of that share, a line a seed."""
    people = s.frame("people.parquet")
    runs = switchable(s)
    runs = runs[(runs.selection == "cr") | (runs.training == "nn")]
    if runs.empty:
        return empty("no switchable codecs in this profile")
    figure, panels = grid(names_of(runs), sharey=True)
    for panel, (run, row) in zip(panels.values(), rows_of(runs), strict=True):
        kind = KINDS["switchable" if row.training == "router" else "switchable_nn"]
        for _, part in of_run(people, run).groupby("seed"):
            counts = part.groupby("codebook_group").images.sum().reindex(range(row.M), fill_value=0)
            shares = 100 * np.sort(counts.to_numpy())[::-1] / counts.sum()
            panel.step(np.arange(1, len(shares) + 1), shares, where="mid", color=kind[0], alpha=0.9)
        panel.axhline(100 / row.M, color="#999999", linestyle=":", linewidth=1.5, label="all groups alike")
    whole_numbers(panels.values())
    outer_labels(panels, "groups, most chosen first", "images (%)")
    common_legend(figure)
    return figure


def router_people(s: Summary) -> Figure:
    """Of each test person's images (first seed) the share that the router sends to each group; people of a label
    together. (The paper's supplementary figure 2.)"""
    people = s.frame("people.parquet")
    runs = switchable(s)
    runs = runs[runs.selection == "cr"]
    if runs.empty:
        return empty("no switchable codecs in this profile")
    figure, panels = grid(names_of(runs))
    picture = None
    for panel, (run, row) in zip(panels.values(), rows_of(runs), strict=True):
        mine = of_run(people, run)
        mine = mine[mine.seed == s.seeds[0]]
        table = mine.pivot_table(index=["label", "person"], columns="codebook_group", values="images", fill_value=0)
        table = table.reindex(columns=range(row.M), fill_value=0)
        shares = table.div(table.sum(axis=1), axis=0)
        # People of a label in order of the group that serves most of their images, so that blocks show.
        first = shares.to_numpy().argmax(1)
        order = np.lexsort((first, shares.index.get_level_values("label")))
        picture = panel.imshow(100 * shares.to_numpy()[order], cmap=SEQUENTIAL, vmin=0, vmax=100, aspect="auto")
        labels = shares.index.get_level_values("label").to_numpy()[order]
        for place in np.flatnonzero(labels[1:] != labels[:-1]):
            panel.axhline(place + 0.5, color="white", linewidth=2)
        panel.set_yticks([float(np.mean(np.flatnonzero(labels == one))) for one in dict.fromkeys(labels)],
                         [str(one or "people").replace("_", "\n") for one in dict.fromkeys(labels)])  # fmt: skip
        panel.grid(visible=False)
    outer_labels(panels, "codebook group", "")
    assert picture is not None
    figure.colorbar(picture, ax=list(panels.values()), label="images of a person (%)", shrink=0.8)
    return figure


def selection_agreement(s: Summary) -> Figure:
    """How often the router chooses the very group of least error, and what that costs in accuracy."""
    runs = switchable(s)
    runs = runs[runs.selection == "cr"]
    if runs.empty:
        return empty("no router in this profile")
    names = [f"{r.backbone}, {r.M} x {r.K}" for r in runs.itertuples()]
    figure, panels = grid(["the same group", "accuracy, CR less NN"])
    figure.set_size_inches(2 * PANEL[0], 1.3 * PANEL[1])
    top, bottom = panels.values()
    colour, marker, _ = KINDS["switchable"]
    for place, (run, row) in enumerate(rows_of(runs)):
        same = [100 * value for value in s.measured(run, "nn_cr_agreement")]
        top.plot(place + beside_each_other(len(same), 0.3), same, marker, color=colour, markersize=7, label="a seed")
        top.plot(
            [place - 0.3, place + 0.3],
            [100 / row.M] * 2,
            color="#999999",
            linestyle=":",
            linewidth=2,
            label="by chance",
        )
        found = s.compared(run, "nn", "mean_acc") or {}
        value = found.get("difference", np.nan)
        bars = [[value - found.get("low", np.nan)], [found.get("high", np.nan) - value]]
        bottom.errorbar(
            [place], [value], yerr=bars, color=colour, marker=marker, capsize=4, label="all seeds, 95 % interval"
        )
    bottom.axhline(0, color="#999999", linewidth=1)
    for panel, label in ((top, "images (%)"), (bottom, "points")):
        panel.set_xticks(range(len(names)), names, rotation=20, ha="right", fontsize=9)
        panel.set_ylabel(label)
        panel.margins(x=0.1)
    top.set_ylim(0, None)
    common_legend(figure, columns=3)
    return figure
