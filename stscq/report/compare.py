"""Which numbers of two results folders differ by more than their intervals: `stscq compare A B`.

Only tables/*.csv are read. Rows are matched by what they describe: the text columns and the sizes in DESIGN. Two
numbers with intervals (NAME_low, NAME_high) differ when these do not overlap. A number without one may differ by a
share of itself, a published one not at all. What is missing on one side is a difference.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from stscq.errors import DataError

TOLERANCE = 0.01
"""Relative, of numbers without an interval: other machines round differently, and training carries that on."""
EXACT = 1e-5
"""Relative: the tables have six digits."""
DESIGN = {"codebooks", "codebook_size", "tokens", "groups", "group", "seed", "number"}
"""Numbers that say what a row is."""
ENDINGS = ("_std", "_low", "_high", "_p")
BARE = ("std", "low", "high", "p")
"""In a table with one statistic a row, such as claims, its interval has bare names."""
MEASURED = re.compile(r"(^|_)(seconds?|ms|hours|peak|mem|memory)(_|$)")
"""Numbers of a machine, not of the method."""
MACHINE = {"machine", "device", "torch", "threads", "continued"}
FOUND = {"verdict"}
"""Texts that are results."""
EXPLAINED = {"why", "reason", "not_measured"}
"""Texts that only go with results."""


@dataclass(frozen=True)
class Difference:
    """row and column are empty where a whole table or row is meant; a and b are what the two folders have."""

    table: str
    row: str
    column: str
    a: str
    b: str

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.table, self.row, self.column) if part)
        return f"{place}: {self.a} -> {self.b}"


@dataclass
class Comparison:
    """differences, and how much was looked at."""

    differences: list[Difference] = field(default_factory=list)
    tables: int = 0
    cells: int = 0
    not_compared: int = 0

    def summary(self) -> str:
        left = f" ({self.not_compared} times and peaks of memory were not compared)" if self.not_compared else ""
        found = f"{len(self.differences)} difference{'' if len(self.differences) == 1 else 's'}"
        return f"{found} in {self.cells} cells of {self.tables} tables{left}"

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def compare(a: Path, b: Path, tolerance: float = TOLERANCE, measured: bool = False) -> Comparison:
    """Of two results folders (results/demo). `measured`: times, memory and machines as well.

    Raises DataError when a folder has no tables, or one of them cannot be read.
    """
    ours, theirs = tables_of(a), tables_of(b)
    found = Comparison()
    for name in sorted(ours | theirs):
        if name not in ours or name not in theirs:
            found.differences.append(Difference(name, "", "", *present(name in ours)))
            continue
        found.tables += 1
        pair = Pair(name, read_table(ours[name]), read_table(theirs[name]))
        found.differences += pair.shape_differences()
        for column in pair.columns():
            if not measured and is_measured(column):
                found.not_compared += len(pair.a)
                continue
            found.cells += len(pair.a)
            found.differences += pair.cell_differences(column, EXACT if column.startswith("published_") else tolerance)
    return found


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


def present(in_a: bool) -> tuple[str, str]:
    return ("there", "missing") if in_a else ("missing", "there")


def is_measured(column: str) -> bool:
    published = column.startswith("published_")
    return not published and (bool(MEASURED.search(column)) or column in MACHINE)


class Pair:
    """One table of both folders, its rows under the same keys."""

    def __init__(self, name: str, a: pd.DataFrame, b: pd.DataFrame):
        self.name = name
        self.all_columns = list(dict.fromkeys([*a.columns, *b.columns]))
        self.only_in_one = {c: c in a for c in self.all_columns if (c in a) != (c in b)}
        self.shared = [c for c in self.all_columns if c not in self.only_in_one]
        self.numeric = {c for c in self.shared if is_numeric(a[c]) and is_numeric(b[c])}
        self.keys = [c for c in self.shared if self.is_key(c)]
        a, b = keyed(a, self.keys), keyed(b, self.keys)
        self.rows_in_one = {row: row in a.index for row in [*a.index, *b.index] if (row in a.index) != (row in b.index)}
        both = a.index.intersection(b.index, sort=False)
        self.a, self.b = a.loc[both], b.loc[both]

    def is_key(self, column: str) -> bool:
        if is_measured(column) or column in FOUND | EXPLAINED:
            return False
        return column in DESIGN if column in self.numeric else not column.startswith("published_")

    def shape_differences(self) -> Iterator[Difference]:
        for column, in_a in self.only_in_one.items():
            yield Difference(self.name, "", column, *present(in_a))
        for row, in_a in self.rows_in_one.items():
            yield Difference(self.name, row, "", *present(in_a))

    def columns(self) -> list[str]:
        """Those to compare: no keys, and nothing that goes with another result."""
        return [c for c in self.shared if c not in self.keys and c not in EXPLAINED and not self.belongs_to(c)]

    def belongs_to(self, column: str) -> str | None:
        """mean_acc for mean_acc_low, where there is such a column."""
        for ending in ENDINGS:
            base = column.removesuffix(ending)
            if base != column and base in self.numeric:
                return base
        return self.lone_statistic() if column in BARE else None

    def lone_statistic(self) -> str | None:
        named = [c for c in ("statistic", "value", "difference") if c in self.numeric]
        return named[0] if named and {"low", "high"} <= self.numeric else None

    def interval(self, rows: pd.DataFrame, row: str, column: str) -> tuple[float, float] | None:
        """None where the number has none."""
        names = (f"{column}_low", f"{column}_high")
        if column == self.lone_statistic():
            names = ("low", "high")
        if not set(names) <= self.numeric:
            return None
        low, high = (number(str(rows.at[row, name])) for name in names)
        return None if math.isnan(low) or math.isnan(high) else (low, high)

    def cell_differences(self, column: str, tolerance: float) -> Iterator[Difference]:
        for row in self.a.index:
            ours, theirs = (str(rows.at[row, column]) for rows in (self.a, self.b))
            intervals = self.interval(self.a, row, column), self.interval(self.b, row, column)
            if ours == theirs and not (column in self.numeric and (intervals[0] is None) != (intervals[1] is None)):
                continue
            if column in self.numeric and same(ours, theirs, *intervals, tolerance):
                continue
            texts = (shown(text, span) for text, span in zip((ours, theirs), intervals, strict=True))
            yield Difference(self.name, row, column, *texts)


def same(
    a: str, b: str, a_span: tuple[float, float] | None, b_span: tuple[float, float] | None, tolerance: float
) -> bool:
    """Two cells with numbers: intervals that overlap, or numbers within the tolerance."""
    if a_span is not None and b_span is not None:
        return a_span[0] <= b_span[1] and b_span[0] <= a_span[1]
    if (a_span is None) != (b_span is None) or not a or not b:
        return False
    x, y = number(a), number(b)
    return abs(x - y) <= tolerance * max(abs(x), abs(y))


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
    names = [", ".join(plain(cell) for cell in cells if cell) for cells in frame[keys].itertuples(index=False)]
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return frame.set_axis(unique, axis="index")


def plain(cell: str) -> str:
    """16.0 and 16 are one size: a column with an empty cell has its integers as floats."""
    return cell[:-2] if re.fullmatch(r"\d+\.0", cell) else cell


def shown(cell: str, interval: tuple[float, float] | None) -> str:
    span = "" if interval is None else f" [{interval[0]:g}, {interval[1]:g}]"
    return f"{cell}{span}" if cell else "empty"
