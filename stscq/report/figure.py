"""One figure, as PNG and SVG.

python -m stscq.report.figure --summary data/demo/summary --name rate_accuracy --stem results/demo/figures/rate_accuracy
"""

from pathlib import Path

from stscq.cli_tools import run
from stscq.errors import ParamsError
from stscq.report.figures import FIGURES, PORTRAITS, SHEETS, draw
from stscq.report.figures.style import save
from stscq.report.summary import read_summary


def main(summary: Path, name: str, stem: Path) -> None:
    """Writes STEM.png and STEM.svg. Raises ParamsError for an unknown NAME."""
    s = read_summary(summary)
    sheets = [f"{kind}{backbone}" for kind in (SHEETS, PORTRAITS) for backbone in dict.fromkeys(s.faces().backbone)]
    if name not in (*FIGURES, *sheets):
        raise ParamsError(f"{name}: no such figure; there are {', '.join((*FIGURES, *sheets))}")
    save(draw(s, name), stem)


if __name__ == "__main__":
    run(main)
