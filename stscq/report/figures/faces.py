"""Reconstructions, to be looked at."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stscq.report.figures.rows import named
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import MARK

TAUGHT = f" {MARK}, taught by the judge"


def mark_of(run: Any) -> str:
    """Of a row of `RunSummary.runs`."""
    if run.effort:
        return f", effort {run.effort}"
    if pd.notna(run.power):
        return ", unequal K"
    return TAUGHT if run.outside_claims else ""


def reconstructions(s: RunSummary, backbone: str, pictures: Path) -> Figure:
    """The same unseen people, by the first seed: original, then every variant of a backbone with its bits.

    PICTURES: of the test people (stscq.report.sheets), or of people whose pictures anybody may pass on (portraits of
    the summary). What is outside all claims has a mark."""
    with np.load(pictures, allow_pickle=False) as file:
        sheets = {name: file[name] for name in file.files}
    runs = named(s.runs[(s.runs.backbone == backbone) & (s.runs.selection == "nn")])
    names = {r.variant: f"{r.method_name}{mark_of(r)}\n{r.M} x {r.K}: {r.bits} bits" for r in runs.itertuples()}
    people = len(sheets["original"])
    figure, panels = plt.subplots(
        len(sheets), 1, figsize=(0.95 * people + 2.3, 1.02 * len(sheets) + 0.4), squeeze=False
    )
    for panel, (variant, images) in zip(panels[:, 0], sheets.items(), strict=True):
        panel.imshow(np.concatenate(list(images), axis=1), interpolation="nearest")
        panel.set_anchor("E")  # what is left over goes to the names
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        text = {"original": "original\n(uncompressed)", **names}[variant].replace(", ", ",\n")
        panel.set_ylabel(text, rotation=0, ha="right", va="center", fontsize="small")
    panels[0, 0].set_title(f"{backbone}: unseen people, seed {s.seeds[0]}")
    return figure
