"""The paper's numbers, as printed, in our words: a block of published.yaml is a table of the paper."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

ENTRIES = {1: 4096, 16: 1024, 256: 256}
"""Groups of codebooks -> entries of each, for published rows that do not print them."""
COLUMNS = {"codebooks": "groups", "codebook_size": "entries", "selection_in_training": "training"}
SELECTIONS = {"NN": "nn", "CR": "router", "routing": "router"}
"""The paper's words and ours, for columns and for how the group of an image is selected (CR: by the router)."""


@cache
def blocks() -> dict[str, Any]:
    """Name of the block -> columns, rows, and where there are any: title, errata, notes; `claims` is a list."""
    found: dict[str, Any] = yaml.safe_load((files("stscq.evaluation") / "published.yaml").read_text(encoding="utf-8"))
    return found


def published_rows(block: str) -> pd.DataFrame:
    """The rows of a block: numbers as printed, under our names of columns and selections."""
    rows = pd.DataFrame(blocks()[block]["rows"], columns=blocks()[block]["columns"])
    return rows.rename(columns=COLUMNS).replace(SELECTIONS)


def errata(block: str) -> list[str]:
    """Where a printed value contradicts others, with the arithmetic."""
    return list(blocks()[block].get("errata", []))


def published_row(block: str, **where: Any) -> dict[str, Any]:
    """The one row of a block in which columns have these values; an empty dict unless there is exactly one."""
    rows = published_rows(block)
    for column, value in where.items():
        if value is None or value is pd.NA:
            return {}
        rows = rows[rows[column] == value]
    return {str(k): v for k, v in rows.iloc[0].to_dict().items()} if len(rows) == 1 else {}


def beside(measured: dict[str, Any], block: str, measures: Sequence[str], paper: bool, **where: Any) -> dict[str, Any]:
    """published_MEASURE of the row that fits; in the paper's own experiment also difference_MEASURE."""
    row = published_row(block, **where)
    cells: dict[str, Any] = {f"published_{name}": row.get(name) for name in measures}
    if paper:
        for name in measures:
            ours, theirs = measured.get(name), row.get(name)
            cells[f"difference_{name}"] = None if ours is None or theirs is None else ours - theirs
    return cells
