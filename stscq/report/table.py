"""One table, as CSV, Markdown and LaTeX.

python -m stscq.report.table --summary data/demo/summary --name main --stem results/demo/tables/main
"""

from pathlib import Path

from stscq.cli_tools import run
from stscq.errors import ParamsError
from stscq.report.claims import claims
from stscq.report.render import write_table
from stscq.report.summary import read_summary
from stscq.report.tables import TABLES

MAKERS = {**TABLES, "claims": claims}


def main(summary: Path, name: str, stem: Path) -> None:
    """Writes STEM.csv, STEM.md and STEM.tex. Raises ParamsError for an unknown NAME."""
    if name not in MAKERS:
        raise ParamsError(f"{name}: no such table; there are {', '.join(MAKERS)}")
    s = read_summary(summary)
    table = MAKERS[name](s)
    profile = f"Profile {s.about['profile']}, {len(s.seeds)} seed(s). published_: as printed in the paper."
    write_table(table._replace(notes=[profile, *table.notes]), stem)


if __name__ == "__main__":
    run(main)
