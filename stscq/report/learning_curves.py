"""Figure: how the shipped tokenizers learnt, as their cards say.

python -m stscq.report.learning_curves --cards stscq/tokenizers --stem results/pretrain/learning_curves
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from stscq.cli_tools import run
from stscq.report.figures.style import legend_below, lines, save

KINDS = {"psnr": "unquantised", "psnr_quantised": "through its one codebook"}


def main(cards: Path, stem: Path) -> None:
    """Writes STEM.png and STEM.svg, a panel a card. CARDS: the folder where `stscq.training.ship` wrote them."""
    files = [file for file in sorted(cards.glob("*.json")) if not file.name.endswith(".run.json")]
    save(learning_curves(pd.concat([points(json.loads(file.read_text(encoding="utf-8"))) for file in files])), stem)


def points(card: Mapping[str, Any]) -> pd.DataFrame:
    """A row a point and kind of reconstruction: name, part (pretrain, refine), thousand pictures, dB, kind."""
    parts = ("pretrain", "refine")[: len(card["curves"])]
    curves = [pd.DataFrame(curve).assign(part=part) for part, curve in zip(parts, card["curves"], strict=True)]
    found = pd.concat(curves).rename(columns=KINDS).assign(name=card["name"])
    found["thousand pictures"] = found.images / 1000
    kinds = [kind for kind in KINDS.values() if kind in found]
    return found.melt(["name", "part", "thousand pictures"], kinds, "kind", "dB").dropna()


def learning_curves(rows: pd.DataFrame) -> Figure:
    """PSNR of validation faces over pictures seen; dashed once a recogniser teaches as well."""
    grid = lines(rows, "name", x="thousand pictures", y="dB", hue="kind", style="part")
    grid.set_axis_labels("thousand pictures seen", "PSNR of validation faces, dB")
    return legend_below(grid.figure, columns=2)


if __name__ == "__main__":
    run(main)
