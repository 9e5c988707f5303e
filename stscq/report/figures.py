"""Figures of a run, as PNG.

python -m stscq.report.figures --evaluation data/demo/evaluation --models models/demo --store ... --out ...
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stscq.cli_tools import run as run_command
from stscq.data.store import open_store
from stscq.evaluation.evaluate import SHOWN
from stscq.files import read_log
from stscq.report.collect import Evaluations, Run
from stscq.report.render import summary_columns

# Okabe and Ito's colours, told apart by colour-blind readers too; markers say the same in black and white.
COLOURS = {
    "global_plain": "#999999",
    "global": "#000000",
    "token_specific": "#D55E00",
    "switchable": "#0072B2",
    "switchable (NN-trained)": "#CC79A7",
}
MARKERS = {"global_plain": "v", "global": "o", "token_specific": "s", "switchable": "^", "switchable (NN-trained)": "x"}
LABELS = {"mean_acc": "verification accuracy (%)", "ids": "identity similarity IDS (cosine)"}
TITLES = {"stage1": "global, stage 1 only", "global": "global, compute-matched"}


def kind_of(e: Evaluations, run: Run) -> str:
    what = e.describe(run)
    trained_by_nn = what["method"] == "switchable" and what["training"] == "nn"
    return "switchable (NN-trained)" if trained_by_nn else what["method"]


def rate_figure(e: Evaluations, measure: str) -> Figure:
    """Bits a pixel against a measure, one panel a backbone; bars are 95 % intervals of the mean over seeds."""
    figure, panels = plt.subplots(1, len(e.variants), figsize=(3.2 * len(e.variants), 3.4), sharey=True, squeeze=False)
    for panel, backbone in zip(panels[0], e.variants, strict=True):
        for run in e.runs():
            if run.backbone == backbone and run.selection == "nn":
                draw_point(panel, e, run, measure)
        if measure == "mean_acc":
            ceiling = float(np.mean(e.original_accuracy()))
            panel.axhline(ceiling, color="#009E73", linestyle="--", linewidth=1, label="original (no compression)")
        panel.set_title(backbone)
        panel.set_xlabel("bits per pixel")
        panel.margins(x=0.25)
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel(LABELS[measure])
    common_legend(figure)
    figure.tight_layout(rect=(0, 0.16, 1, 1))
    return figure


def common_legend(figure: Figure) -> None:
    """One legend under all panels, each label once."""
    entries: dict[str, Artist] = {}
    for panel in figure.axes:
        handles, labels = panel.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(list(entries.values()), list(entries), loc="lower center", ncol=3, frameon=False)


def draw_point(panel: Axes, e: Evaluations, run: Run, measure: str) -> None:
    kind = kind_of(e, run)
    s = summary_columns(measure, e.values(run, measure))
    half = s[f"{measure}_high"] - s[measure]
    panel.errorbar(
        e.describe(run)["bpp"] * (1 + 0.02 * OFFSETS[kind]),
        s[measure],
        yerr=None if np.isnan(half) else half,
        color=COLOURS[kind],
        marker=MARKERS[kind],
        capsize=3,
        linestyle="none",
        label=kind,
    )


# Methods at the same rate stand side by side instead of on top of each other.
OFFSETS = {"global_plain": -1, "global": 0, "token_specific": 1, "switchable": 0, "switchable (NN-trained)": 1}


def sheet_figure(e: Evaluations, backbone: str, store: Path) -> Figure:
    """The same test faces of the first seed: original, then every variant of a backbone."""
    seed = e.seeds[0]
    runs = [run for run in e.runs() if run.backbone == backbone and run.selection == "nn"]
    image_set = e.sets[0]
    index = e.selected(runs[0], seed, image_set, "images.parquet")
    people = index.drop_duplicates("identity").index[:SHOWN]
    rows = [open_store(store).images[index.row[people]]]
    names = ["original\n(uncompressed)"]
    for run in runs:
        rows.append(np.load(e.path(run, seed, image_set, "sheet.npy"), allow_pickle=False))
        bits = e.metrics(run, seed, image_set)["bits"]
        names.append(f"{TITLES.get(run.variant, run.variant).replace('_', ' ')}\n{bits} bits")
    figure, panels = plt.subplots(
        len(rows), 1, figsize=(1.0 * len(people) + 1.9, 1.05 * len(rows)), layout="constrained"
    )
    for panel, faces, name in zip(panels, rows, names, strict=True):
        panel.imshow(np.concatenate(list(faces), axis=1), interpolation="nearest")
        panel.set_xticks([])
        panel.set_yticks([])
        panel.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    panels[0].set_title(f"{backbone}: unseen people, seed {seed}", fontsize=10)
    return figure


def curves_figure(e: Evaluations, models: Path) -> Figure:
    """Training loss of the three stages, one row a backbone, thin lines of one colour being the seeds."""
    stages = ["stage1", "stage2", "stage3"]
    figure, panels = plt.subplots(len(e.variants), 3, figsize=(9.5, 2.3 * len(e.variants)), squeeze=False)
    for row, backbone in zip(panels, e.variants, strict=True):
        for panel, stage in zip(row, stages, strict=True):
            kinds = ["global_plain"] if stage == "stage1" else list(e.variants[backbone])
            for kind in kinds:
                draw_curves(panel, e, models / backbone / stage, "" if stage == "stage1" else kind, backbone)
            panel.set_title(f"{backbone}, {stage}", fontsize=9)
            panel.set_xlabel("step", fontsize=8)
            panel.set_ylabel("codebook loss" if stage == "stage2" else "loss", fontsize=8)
            panel.set_yscale("log")
            panel.tick_params(labelsize=7, which="both")
            panel.grid(alpha=0.3)
    common_legend(figure)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
    return figure


def draw_curves(panel: Axes, e: Evaluations, folder: Path, variant: str, backbone: str) -> None:
    kind = kind_of(e, Run(backbone, variant or "stage1", "nn"))
    term = "codebook" if folder.name == "stage2" else "loss"
    for seed in e.seeds:
        log = read_log(folder / variant / f"seed{seed}" / "log.jsonl")
        steps, values = zip(*((line["step"], line[term]) for line in log), strict=True)
        panel.plot(steps, values, color=COLOURS[kind], linewidth=0.8, label=kind)


def main(evaluation: Path, models: Path, store: Path, seeds: str, sets: str, variants: str, out: Path) -> None:
    """Writes OUT/NAME.png for every figure. SEEDS, SETS and VARIANTS are JSON, as stscq.report.tables takes them.

    STORE: the images of the first set of faces.
    """
    of = json.loads(sets)
    everybody = json.loads(variants)
    e = Evaluations(evaluation, json.loads(seeds), of["faces"], {b: v for b, v in everybody.items() if b not in of})
    makers: dict[str, Callable[[], Figure]] = {
        "rate_accuracy": lambda: rate_figure(e, "mean_acc"),
        "rate_ids": lambda: rate_figure(e, "ids"),
        "training_curves": lambda: curves_figure(e, models),
        **{f"reconstructions_{b}": partial(sheet_figure, e, b, store) for b in e.variants},
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, make in makers.items():
        figure = make()
        # No date or version inside: the same numbers give the same file.
        figure.savefig(out / f"{name}.png", dpi=130, metadata={"Software": None})
        plt.close(figure)


if __name__ == "__main__":
    run_command(main)
