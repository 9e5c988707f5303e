"""One table, as CSV, Markdown and LaTeX.

python -m stscq.report.table --summary data/demo/summary --name main --stem results/demo/tables/main
"""

from pathlib import Path

import pandas as pd

from stscq.cli_tools import run
from stscq.errors import ParamsError
from stscq.evaluation.published import blocks, errata, published_rows
from stscq.report.claims import claims
from stscq.report.render import Table, write_table
from stscq.report.summary import read_summary
from stscq.report.tables import TABLES

MAKERS = {**TABLES, "claims": claims}


def main(summary: Path, name: str, stem: Path) -> None:
    """Writes STEM.csv, STEM.md and STEM.tex. Raises ParamsError for an unknown NAME."""
    if name not in MAKERS:
        raise ParamsError(f"{name}: no such table; there are {', '.join(MAKERS)}")
    s = read_summary(summary)
    table = MAKERS[name](s)
    if table.frame.empty:
        table = without_runs(table)
    profile = f"Profile {s.about['profile']}, {len(s.seeds)} seed(s). published_: as printed in the paper."
    write_table(table._replace(notes=[profile, *table.notes]), stem)


def without_runs(table: Table) -> Table:
    """For a profile that has no such run: the published rows alone."""
    note = "No run of this profile belongs in this table."
    if table.name not in blocks():
        return table._replace(frame=pd.DataFrame({"backbone": ["none"]}), notes=[note])
    rows = published_rows(table.name)
    frame = rows.rename(columns={c: f"published_{c}" for c in rows.select_dtypes("number").columns})
    return table._replace(frame=frame, notes=[note, *errata(table.name)])


if __name__ == "__main__":
    run(main)
