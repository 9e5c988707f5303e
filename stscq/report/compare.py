"""Which numbers of two results folders are another result, and not another processor: `stscq compare A B`.

Only tables/*.csv are read. Rows are matched by what they describe: the text columns and the sizes. compare_kinds.py
says what a column is, by its name; what is missing on one side is a difference. Then, in three sentences: What the
parameters, the data or the paper decide must be equal, and what no training went into (uncompressed images, a mean
face, classic codecs) within ROUNDING. A result of training differs when it is further off than the spread over seeds
explains, by the limits of compare_spread.py. A verdict that changes while its number does not differ is noted, and no
difference.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from stscq.report.compare_kinds import VERDICTS, follows, is_exact, is_measured, is_untrained
from stscq.report.compare_spread import (
    ComparedResult,
    SeedSpread,
    by_column,
    cell_limit,
    column_limit,
    off_together,
)
from stscq.report.compare_tables import ComparedCell, TablePair, read_table, tables_of

EXACT = 1e-5
"""Relative: the tables have six digits."""
ROUNDING = 0.002
"""Relative, of what needs no training: a judge's sums and an encoder's kernels round otherwise on another processor."""
MANY = 5
"""Differences; of more, the places that have most are named."""
TIMES = 0.01
"""Relative, of times and memory, where these are compared at all."""


@dataclass(frozen=True)
class Difference:
    """row and column are empty where a whole table, row or column is meant; a and b are what the two folders have."""

    table: str
    row: str
    column: str
    a: str
    b: str
    why: str = ""

    def __str__(self) -> str:
        place = ": ".join(part for part in (self.table, self.row, self.column) if part)
        return f"{place}: {self.a} -> {self.b}" + (f" ({self.why})" if self.why else "")


@dataclass
class Comparison:
    """differences; noted: changes that are none; cells: how many were compared; tested: against the spread of seeds."""

    differences: list[Difference] = field(default_factory=list)
    noted: list[Difference] = field(default_factory=list)
    tables: int = 0
    cells: int = 0
    tested: int = 0
    no_spread: int = 0
    not_compared: int = 0

    def summary(self) -> str:
        lines = []
        places = Counter(f"{d.table}: {d.column}" for d in self.differences if d.column)
        if len(self.differences) > MANY:
            lines.append("most of them in " + "; ".join(f"{place} ({n})" for place, n in places.most_common(MANY)))
        left = f" ({self.not_compared} times and peaks of memory not compared)" if self.not_compared else ""
        found = counted(len(self.differences), "difference")
        lines.append(f"{found} in {self.cells} cells of {self.tables} tables{left}")
        if self.tested:
            so = "" if self.differences else ", none further off than another processor takes it"
            lines.append(f"{self.tested} cells tested against their spread over seeds{so}")
        if self.no_spread:
            lines.append(f"{self.no_spread} cells not tested: neither folder says how they spread over seeds")
        return "\n".join(lines)

    def text(self) -> str:
        noted = [f"note: {change}" for change in self.noted]
        return "\n".join([*noted, *map(str, self.differences), self.summary()])

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def counted(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


def compare(a: Path, b: Path, tolerance: float | None = None, measured: bool = False) -> Comparison:
    """Compare two results folders (results/demo). `measured`: times, memory and machines as well.

    tolerance: relative, of results whose spread neither folder says; None: these are not tested.
    Raises DataError when a folder has no tables, or one of them cannot be read.
    """
    ours, theirs = tables_of(a), tables_of(b)
    found = Comparison()
    pairs = []
    for name in sorted(ours | theirs):
        if name in ours and name in theirs:
            pairs.append(TablePair(name, read_table(ours[name]), read_table(theirs[name])))
        else:
            found.differences.append(Difference(name, "", "", *present(name in ours)))
    found.tables = len(pairs)
    spread = SeedSpread(pairs)
    tested: list[ComparedResult] = []
    for pair in pairs:
        found.differences += shape_differences(pair)
        for column in pair.columns():
            if is_measured(column) and not measured:
                found.not_compared += len(pair.rows)
            elif not pair.named_by_training:
                found.cells += len(pair.rows)
                tested += compare_column(pair, column, spread, tolerance, found)
    found.tested = len(tested)
    beyond = [*cells_beyond(tested), *columns_beyond(tested)]
    found.differences += beyond
    settle_verdicts(found, {(d.table, d.row) for d in beyond})
    return found


def present(in_a: bool) -> tuple[str, str]:
    return ("there", "missing") if in_a else ("missing", "there")


def shape_differences(pair: TablePair) -> Iterator[Difference]:
    for column, in_a in pair.only_in_one.items():
        yield Difference(pair.name, "", column, *present(in_a))
    if not pair.named_by_training:
        for row, in_a in pair.rows_in_one.items():
            yield Difference(pair.name, row, "", *present(in_a))


def compare_column(
    pair: TablePair, column: str, spread: SeedSpread, tolerance: float | None, found: Comparison
) -> Iterator[ComparedResult]:
    """The cells of a column that need the spread over seeds; what is plain without it goes into `found`."""
    for row, a, b in pair.cells(column):
        described = pair.described[row]
        change = Difference(pair.name, row, column, str(a), str(b))
        if column in VERDICTS or follows(column, pair.shared):
            found.noted += [change] * (column in VERDICTS and a.text != b.text)
        elif column not in pair.numeric or is_exact(column) or is_measured(column) or is_untrained(described):
            exact = column not in pair.numeric or is_exact(column)
            allowed = EXACT if exact else TIMES if is_measured(column) else ROUNDING
            found.differences += [change] * (not within(a, b, allowed))
        elif (error := spread.standard_error(pair.name, column, described, a, b)) is None:
            found.no_spread += bool(a.text and b.text) and tolerance is None
            allowed = tolerance if tolerance is not None else math.inf
            found.differences += [change] * (not within(a, b, allowed))
        elif not a.text and not b.text:
            continue
        elif within(a, b, EXACT):
            yield ComparedResult(pair.name, row, column, described.get("backbone", ""), a, b, 0.0)
        elif not a.text or not b.text or (column == pair.lone_statistic() and None in (a.interval, b.interval)):
            (found.noted if column == pair.lone_statistic() else found.differences).append(change)
        else:
            off = abs(a.value - b.value) / error if error else math.inf
            off = math.inf if math.isnan(off) else off  # a number that became NaN
            yield ComparedResult(pair.name, row, column, described.get("backbone", ""), a, b, off)


def within(a: ComparedCell, b: ComparedCell, tolerance: float) -> bool:
    """Equal texts, or numbers that are no further apart than this share of the larger."""
    if a.text == b.text:
        return True
    if not a.text or not b.text:
        return False
    return abs(a.value - b.value) <= tolerance * max(abs(a.value), abs(b.value))


def cells_beyond(tested: list[ComparedResult]) -> Iterator[Difference]:
    limit = cell_limit(len(tested))
    for cell in tested:
        if cell.errors > limit:
            why = f"{cell.errors:.1f} standard errors, at most {limit:.1f}"
            yield Difference(cell.table, cell.row, cell.column, str(cell.a), str(cell.b), why)


def columns_beyond(tested: list[ComparedResult]) -> Iterator[Difference]:
    columns = by_column(tested)
    for (table, column), cells in columns.items():
        off, backbones = off_together(cells)
        limit = column_limit(len(columns), backbones)
        if off > limit:
            both = [(cell.a.value, cell.b.value) for cell in cells]
            a, b = (f"{sum(side) / len(cells):.6g} on average" for side in zip(*both, strict=True))
            why = f"{len(cells)} rows are {off:.1f} standard errors off, at most {limit:.1f}"
            yield Difference(table, "", column, a, b, why)


def settle_verdicts(found: Comparison, beyond: set[tuple[str, str]]) -> None:
    """A changed verdict is a difference only where its number is one."""
    real = [change for change in found.noted if change.column == "verdict" and (change.table, change.row) in beyond]
    found.differences += real
    found.noted = [change for change in found.noted if change not in real]
