"""A few numbers of every run, for `dvc metrics show` and `dvc metrics diff`.

python -m stscq.report.metrics --summary data/demo/summary --file results/demo/tables/metrics.json
"""

import json
from pathlib import Path
from typing import Any

from stscq.cli_tools import run
from stscq.files import write_atomically
from stscq.report.collect import MEASURES
from stscq.report.summary import RunSummary, read_summary
from stscq.report.tables.cells import mean, rows_of


def metrics(s: RunSummary) -> dict[str, Any]:
    """Means over seeds, by backbone, variant and selection; without what is outside all claims."""
    found: dict[str, Any] = {}
    for one, _ in rows_of(s.claimed()):
        values = {measure: mean(s, one, measure) for measure in MEASURES}
        rounded = {measure: round(value, 5) for measure, value in values.items() if value is not None}
        found.setdefault(one.backbone, {}).setdefault(one.variant, {})[one.selection] = rounded
    return found


def main(summary: Path, file: Path) -> None:
    """Writes FILE."""
    write_atomically(file, json.dumps(metrics(read_summary(summary)), indent=1) + "\n")


if __name__ == "__main__":
    run(main)
