"""Reconstructions, to be looked at."""

from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from stscq.report.figures.rows import named
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import MARK

TAUGHT = f" {MARK}, taught by the judge"


def reconstructions(s: RunSummary, backbone: str, sheets_in: Literal["sheets", "portraits"] = "sheets") -> Figure:
    """The same unseen people, by the first seed: original, then every variant of a backbone with its bits.

    SHEETS_IN: of the test people (sheets), or of people whose pictures anybody may pass on (portraits). What the judge
    taught has a mark: it is outside all claims."""
    with np.load(s.folder / sheets_in / f"{backbone}.npz", allow_pickle=False) as file:
        sheets = {name: file[name] for name in file.files if not name.startswith("groups_")}
    runs = named(s.runs[(s.runs.backbone == backbone) & (s.runs.selection == "nn")])
    names = {
        r.variant: f"{r.method_name}{TAUGHT if r.outside_claims else ''}\n{r.M} x {r.K}: {r.bits} bits"
        for r in runs.itertuples()
    }
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
