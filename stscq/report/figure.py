"""One figure, as PNG and SVG.

python -m stscq.report.figure --summary data/demo/summary --name rate_accuracy --stem results/demo/figures/rate_accuracy
"""

from pathlib import Path

from stscq.cli_tools import run
from stscq.errors import ParamsError
from stscq.report.figures import FIGURES, PORTRAITS, SHEETS, draw
from stscq.report.figures.style import save
from stscq.report.summary import read_summary


def main(summary: Path, name: str, stem: Path, sheet: Path | None = None) -> None:
    """Writes STEM.png and STEM.svg. SHEET: the pictures of `reconstructions_BACKBONE`, from stscq.report.sheets.

    Raises ParamsError for an unknown NAME, and where SHEET is missing or not asked for.
    """
    s = read_summary(summary)
    sheets = [f"{kind}{backbone}" for kind in (SHEETS, PORTRAITS) for backbone in dict.fromkeys(s.faces().backbone)]
    if name not in (*FIGURES, *sheets):
        raise ParamsError(f"{name}: no such figure; there are {', '.join((*FIGURES, *sheets))}")
    if name.startswith(SHEETS) is (sheet is None):
        raise ParamsError(
            f"{name}: --sheet is for the figures {SHEETS}BACKBONE, which show its pictures, and for no other"
        )
    save(draw(s, name, sheet), stem)


if __name__ == "__main__":
    run(main)
