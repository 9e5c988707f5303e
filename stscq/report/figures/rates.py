"""Bits against what is kept, and how far seeds are apart."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stscq.evaluation.peers.frames import peer_means
from stscq.report.collect import Run
from stscq.report.figures.style import (
    CEILING,
    KINDS,
    PANEL,
    beside_each_other,
    common_legend,
    empty,
    grid,
    kind_of,
    outer_labels,
)
from stscq.report.published import published_rows
from stscq.report.render import summary_columns
from stscq.report.summary import Summary
from stscq.report.tables.cells import rows_of
from stscq.report.tables.codebooks import sweep_runs
from stscq.report.tables.rates import as_people_use_it

LABELS = {"mean_acc": "verification accuracy (%)", "ids": "identity similarity IDS (cosine)"}


def rate(s: Summary, measure: str) -> Figure:
    """Bits a pixel against a measure, one panel a backbone; bars are 95 % intervals of the mean over seeds."""
    faces = s.faces()
    figure, panels = grid(list(dict.fromkeys(faces.backbone)), sharey=True)
    for run, row in rows_of(faces[(faces.selection == "nn") & ~faces.variant.str.startswith("groups_")]):
        point(panels[run.backbone], s, run, row, measure)
    reference(s, measure, panels)
    if s.paper:
        for backbone, panel in panels.items():
            published(panel, backbone, measure)
    for panel in panels.values():
        panel.margins(x=0.25)
    outer_labels(panels, "bits per pixel", LABELS[measure])
    common_legend(figure)
    return figure


def point(panel: Axes, s: Summary, run: Run, row: Any, measure: str) -> None:
    kind = kind_of(row)
    colour, marker, label = KINDS[kind]
    c = summary_columns(measure, s.measured(run, measure) or [np.nan])
    half = c[f"{measure}_high"] - c[measure]
    # Methods at the same rate stand side by side instead of on top of each other.
    shifted = row.bpp * (1 + 0.02 * (list(KINDS).index(kind) - 2))
    panel.errorbar(
        shifted, c[measure], yerr=None if np.isnan(half) else half, color=colour, marker=marker, markersize=7,
        capsize=3, linestyle="none", label=label,
    )  # fmt: skip


def reference(s: Summary, measure: str, panels: dict[str, Axes]) -> None:
    """The ceiling of accuracies, or the floor of IDS."""
    name, text = ("original", "original (no compression)") if measure == "mean_acc" else ("mean_face", "one mean face")
    values = s.measured(Run("none", name, ""), measure)
    for panel in panels.values():
        if values:
            panel.axhline(float(np.mean(values)), color=CEILING, linestyle="--", linewidth=1.3, label=text)


def published(panel: Axes, backbone: str, measure: str) -> None:
    """The paper's points of a backbone, from all of its tables of accuracy and IDS, joined in order of rate."""
    points = set()
    for block in ("main", "ibq", "seeds", "selection_at_inference"):
        rows = published_rows(block)
        if "method" in rows:
            rows = rows[rows.method != "global"]
        if "selection" in rows:
            rows = rows[rows.selection == "NN"]
        mine = rows[rows.backbone == backbone]
        points |= set(zip(mine.bpp, mine[measure], strict=True))
    if points:
        x, y = zip(*sorted(points), strict=True)
        panel.plot(x, y, color="#56B4E9", linewidth=1.3, marker="D", markersize=4, label="published")


def seed_spread(s: Summary) -> Figure:
    """Accuracy of every seed, a column a method."""
    faces = s.faces()
    figure, panels = grid(list(dict.fromkeys(faces.backbone)), sharey=True)
    chosen = faces[(faces.selection == "nn") & ~faces.variant.str.startswith("groups_")]
    for backbone, panel in panels.items():
        mine = list(rows_of(chosen[chosen.backbone == backbone]))
        for place, (run, row) in enumerate(mine):
            colour, marker, label = KINDS[kind_of(row)]
            values = s.measured(run, "mean_acc")
            panel.plot([place - 0.25, place + 0.25], [np.mean(values)] * 2, color=colour, linewidth=2)
            panel.plot(place + beside_each_other(len(values)), values, marker, color=colour, markersize=7, label=label)
        panel.set_xticks([])
    outer_labels(panels, "", LABELS["mean_acc"])
    common_legend(figure)
    return figure


def groups_sweep(s: Summary) -> Figure:

    sweep = sweep_runs(s)
    if sweep.empty:
        return empty("no codecs that differ in the number of groups alone")
    figure, panels = grid(["accuracy", "IDS"])
    for panel, measure in zip(panels.values(), ("mean_acc", "ids"), strict=True):
        for place, ((backbone, K), rows) in enumerate(sweep.groupby(["backbone", "K"])):
            cells = [(row.M, summary_columns("x", s.measured(run, measure) or [np.nan])) for run, row in rows_of(rows)]
            M, mean = [m for m, _ in cells], np.array([c["x"] for _, c in cells])
            half = np.array([c["x_high"] for _, c in cells]) - mean
            colour, marker, _ = list(KINDS.values())[2 + place % 3]
            panel.errorbar(M, mean, yerr=None if np.isnan(half).all() else half, color=colour, marker=marker, capsize=3,
                           label=f"{backbone}, K = {K}")  # fmt: skip
        panel.set_xscale("log", base=2)
        panel.set_xticks(sorted(set(sweep.M)), [str(m) for m in sorted(set(sweep.M))])
        panel.set_xlabel("groups M")
        panel.set_ylabel(LABELS[measure])
    common_legend(figure)
    return figure


def rate_peers(s: Summary) -> Figure:
    """Bytes of whole files against accuracy: ours, as people use them, and classic codecs at all operating points."""
    points = s.frame("peers.csv")
    if points.empty:
        return empty("no classic codecs in this profile")
    figure, panels = grid(["classic codecs and ours"], columns=1)
    panel = panels["classic codecs and ours"]
    figure.set_size_inches(2 * PANEL[0], 1.4 * PANEL[1])
    for (codec, mine), (colour, marker) in zip(peer_means(points).groupby("codec"), CLASSIC, strict=False):
        panel.errorbar(mine.bytes, mine.mean_acc, yerr=mine.mean_acc_std, color=colour, marker=marker, capsize=2,
                       linewidth=1, label=codec)  # fmt: skip
    for run, row in rows_of(s.faces()):
        if as_people_use_it(row):
            values, sizes = s.measured(run, "mean_acc"), s.measured(run, "file_bytes")
            colour, marker, label = KINDS[kind_of(row)]
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
            panel.errorbar(
                float(np.mean(sizes)), float(np.mean(values)), yerr=spread, color=colour, marker=marker, markersize=9,
                capsize=2, linestyle="none", markeredgecolor="white", label=f"ours: {label}",
            )  # fmt: skip
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_formatter("{x:.0f}")
    panel.set_xlabel("bytes of a whole file, mean")
    panel.set_ylabel(LABELS["mean_acc"])
    common_legend(figure, columns=3)
    return figure


CLASSIC = (("#E69F00", "<"), ("#56B4E9", ">"), ("#009E73", "D"), ("#999999", "P"), ("#F0E442", "*"))
"""Colours and markers of classic codecs, in alphabetic order."""
