"""Reconstructions, to be looked at."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from stscq.report.summary import Summary

NAMES = {
    "original": "original\n(uncompressed)",
    "stage1": "global,\nstage 1 only",
    "global": "global,\ncompute-matched",
}


def reconstructions(s: Summary, backbone: str) -> Figure:
    """The same unseen people of the first seed: original, then every variant of a backbone with its bits."""
    with np.load(s.folder / "sheets" / f"{backbone}.npz", allow_pickle=False) as file:
        sheets = {name: file[name] for name in file.files if not name.startswith("groups_")}
    runs = s.runs[(s.runs.backbone == backbone) & (s.runs.selection == "nn")].set_index("variant")
    people = len(sheets["original"])
    figure, panels = plt.subplots(
        len(sheets), 1, figsize=(0.95 * people + 2.3, 1.02 * len(sheets) + 0.4), layout="constrained", squeeze=False
    )
    for panel, (name, images) in zip(panels[:, 0], sheets.items(), strict=True):
        panel.imshow(np.concatenate(list(images), axis=1), interpolation="nearest")
        panel.set_anchor("E")  # what is left over goes to the names
        panel.set_xticks([])
        panel.set_yticks([])
        panel.spines[:].set_visible(False)
        text = NAMES.get(name) or textwrap.fill(name.replace("_", " "), 18)
        bits = "" if name == "original" else f"\n{int(runs.loc[name, 'bits'])} bits"  # type: ignore[arg-type]
        panel.set_ylabel(text + bits, rotation=0, ha="right", va="center", fontsize=10)
    panels[0, 0].set_title(f"{backbone}: unseen people, seed {s.seeds[0]}")
    return figure
