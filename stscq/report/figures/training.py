"""Training curves."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from stscq.report.figures.style import KINDS, common_legend, kind_of
from stscq.report.summary import Summary

STAGES = {"stage1": "loss", "stage2": "codebook loss", "stage3": "loss"}


def training_curves(s: Summary) -> Figure:
    """Loss of the three stages, a row a backbone; lines of one colour are the seeds."""
    curves = s.frame("curves.parquet")
    kinds = {(row.backbone, row.variant): kind_of(row) for row in s.runs.itertuples()}
    backbones = list(dict.fromkeys(curves.backbone))
    figure, panels = plt.subplots(
        len(backbones), 3, figsize=(9.0, 2.4 * len(backbones)), squeeze=False, layout="constrained"
    )
    for line, backbone in zip(panels, backbones, strict=True):
        for panel, (stage, label) in zip(line, STAGES.items(), strict=True):
            mine = curves[(curves.backbone == backbone) & (curves.stage == stage)]
            for (variant, _), part in mine.groupby(["variant", "seed"]):
                if str(variant).startswith("groups_"):
                    continue
                colour, _, name = KINDS[kinds[backbone, str(variant)]]
                panel.plot(part.step, part.value, color=colour, linewidth=1, alpha=0.8, label=name)
            panel.set_title(f"{backbone}, {stage}")
            panel.set_ylabel(label)
            panel.set_yscale("log")
            panel.tick_params(which="both", labelsize=8)
            panel.grid(alpha=0.3)
    for panel in panels[-1]:
        panel.set_xlabel("step")
    common_legend(figure, columns=3)
    return figure
