"""Tables of two results folders side by side: rows matched by what they describe, cells with their statistics."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stscq.errors import DataError
from stscq.report.compare_kinds import (
    ARBITRARY,
    BARE,
    BEST_OF_RUN,
    DESIGN,
    EXPLAINED,
    STATISTICS,
    VERDICTS,
    follows,
    is_exact,
    is_measured,
)


class ComparedCell(NamedTuple):
    """One number, as text ('' if empty), with its std over seeds and its 95 % interval, where it has them."""

    text: str
    std: float | None
    interval: tuple[float, float] | None

    @property
    def value(self) -> float:
        return number(self.text)

    def __str__(self) -> str:
        span = "" if self.interval is None else f" [{self.interval[0]:g}, {self.interval[1]:g}]"
        return f"{self.text}{span}" if self.text else "empty"


def tables_of(folder: Path) -> dict[str, Path]:
    """Name -> file. Raises DataError when there are none."""
    place = folder / "tables" if (folder / "tables").is_dir() else folder
    found = {file.stem: file for file in sorted(place.glob("*.csv"))}
    if not found:
        raise DataError(f"{folder}: no tables/*.csv; name a results folder, such as results/demo")
    return found


def read_table(file: Path) -> pd.DataFrame:
    """All cells as text, empty ones as ''."""
    try:
        return pd.read_csv(file, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as problem:
        raise DataError(f"{file}: no table ({problem}); make it again") from problem


class TablePair:
    """One table of both folders (`sides`), its rows under the same keys; described: row -> text of its key columns."""

    def __init__(self, name: str, a: pd.DataFrame, b: pd.DataFrame):
        self.name = name
        every = list(dict.fromkeys([*a.columns, *b.columns]))
        self.shared = [c for c in every if c in a and c in b]
        self.numeric = {c for c in every if all(is_numeric(side[c]) for side in (a, b) if c in side)}
        self.only_in_one = {c: c in a for c in every if c not in self.shared and not self.belongs_to(c)}
        self.named_by_training = bool(ARBITRARY & set(self.shared))
        self.keys = [c for c in self.shared if self.is_key(c)]
        a, b = keyed(a, self.keys), keyed(b, self.keys)
        rows = [*a.index, *(row for row in b.index if row not in a.index)]
        self.rows_in_one = {row: row in a.index for row in rows if (row in a.index) != (row in b.index)}
        both = a.index.intersection(b.index, sort=False)
        self.rows = list(both)
        self.sides = a.loc[both], b.loc[both]
        records = self.sides[0][self.keys].to_dict("records")
        self.described = {
            row: {str(k): str(v) for k, v in one.items()} for row, one in zip(self.rows, records, strict=True)
        }

    def is_key(self, column: str) -> bool:
        if is_measured(column) or column in VERDICTS | EXPLAINED or follows(column, self.shared):
            return False
        if column in self.numeric:
            return column in DESIGN | ARBITRARY
        return not is_exact(column)

    def columns(self) -> list[str]:
        """Those to compare: no keys, and nothing that goes with another result."""
        return [c for c in self.shared if c not in self.keys and c not in EXPLAINED and not self.belongs_to(c)]

    def belongs_to(self, column: str) -> str | None:
        """mean_acc for mean_acc_low, where there is such a column."""
        for ending in STATISTICS:
            base = column.removesuffix(ending)
            if base != column and base in self.numeric:
                return base
        return self.lone_statistic() if column in BARE else None

    def lone_statistic(self) -> str | None:
        """The column that bare `low` and `high` belong to."""
        named = [c for c in ("statistic", "value", "difference") if c in self.numeric]
        return named[0] if named and {"low", "high"} <= self.numeric else None

    def cells(self, column: str) -> Iterator[tuple[str, ComparedCell, ComparedCell]]:
        """Name of the row, and the cell in both folders."""
        a, b = (self.column_of(side, column) for side in self.sides)
        return zip(self.rows, a, b, strict=True)

    def column_of(self, side: pd.DataFrame, column: str) -> list[ComparedCell]:
        """Its cells, with std and interval None where the table does not say them."""
        stem = "" if column == self.lone_statistic() else f"{column}_"
        std, low, high = (
            [number(text) for text in side[name]] if name in side and name in self.numeric else [math.nan] * len(side)
            for name in (f"{stem}std", f"{stem}low", f"{stem}high")
        )
        return [
            ComparedCell(text, None if math.isnan(s) else s, None if math.isnan(x) or math.isnan(y) else (x, y))
            for text, s, x, y in zip(side[column], std, low, high, strict=True)
        ]


def number(cell: str) -> float:
    return float(cell) if cell else math.nan


def is_numeric(column: pd.Series) -> bool:
    """Every cell is a number or empty; a column without any text is one of numbers that nobody had."""
    try:
        column.map(number)
    except ValueError:
        return False
    return True


def keyed(frame: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Rows under what they describe; equal ones are told apart by their order."""
    names = [", ".join(described(cell) for cell in cells if cell) for cells in frame[keys].itertuples(index=False)]
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return frame.set_axis(unique, axis="index")


def described(cell: str) -> str:
    """16.0 and 16 are one size: a column with an empty cell has its integers as floats. Best values are left out."""
    return cell[:-2] if re.fullmatch(r"\d+\.0", cell) else BEST_OF_RUN.sub(r"\1", cell)
