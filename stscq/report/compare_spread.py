"""How far two runs of one method may lie apart: standard errors from the spread over seeds, and limits for many cells.

Training carries the last digits of another processor's sums on until a run there is as different as one with another
seed. So a result of training differs when it is further off than two draws of a few seeds explain:

- A cell: its standard error is sqrt(v (1/n_a + 1/n_b)), with n seeds a side and v the sum of its own variance over
  seeds and that of all rows of its column. Either alone would do with many seeds and rows alike; with three seeds the
  sum is what keeps the rate of false alarms (tests/test_compare.py draws them). A difference of two methods has twice
  v, and the error of its bootstrap over people besides. The limit holds for all tested cells together (Bonferroni):
  two runs of one method have a cell beyond it in ALARMS / 2 of all comparisons.
- A column: what moves every row a little. The mean square of its rows' standard errors; rows of one backbone share
  their stage 1 and count as one draw, so that the limit is that of chi-square with as many degrees as backbones.

Both runs have the same seeds, so the same people and the same start: they are closer than such draws, and the rates of
false alarms are upper bounds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from stscq.report.compare_kinds import is_untrained, measure_of
from stscq.report.compare_tables import ComparedCell, TablePair

ALARMS = 0.01
"""Probability that two runs of one method are told apart, half of it for cells and half for columns."""


@dataclass(frozen=True)
class ComparedResult:
    """A result of training in both folders, and the standard errors between; backbone: '' where none is named."""

    table: str
    row: str
    column: str
    backbone: str
    a: ComparedCell
    b: ComparedCell
    errors: float


class SeedSpread:
    """Variances over seeds, of both folders' tables together."""

    def __init__(self, pairs: Sequence[TablePair]):
        found: dict[tuple[str, str], list[float]] = defaultdict(list)
        sizes: list[int] = []
        for pair in pairs:
            for column in pair.columns():
                if column not in pair.numeric:
                    continue
                for row, *cells in pair.cells(column):
                    if is_untrained(pair.described[row]):
                        continue
                    for cell in cells:
                        if cell.std is not None and cell.text:
                            found[pair.name, column].append(cell.std**2)
                            sizes += seeds_behind(cell)
        self.of_place = {place: float(np.mean(variances)) for place, variances in found.items()}
        named: dict[str, list[float]] = defaultdict(list)
        for (_, column), variance in self.of_place.items():
            named[column].append(variance)
        self.of_name = {column: float(np.mean(variances)) for column, variances in named.items()}
        self.seeds = max(set(sizes), key=sizes.count) if sizes else 1

    def pooled(self, table: str, measure: str) -> float | None:
        """Variance of the measure's column in this table, else of those with its name in all tables."""
        return self.of_place.get((table, measure), self.of_name.get(measure))

    def standard_error(
        self, table: str, column: str, row: Mapping[str, str], a: ComparedCell, b: ComparedCell
    ) -> float | None:
        """Standard error of the difference of two runs; None where neither folder says how the number spreads."""
        measure, methods, seeds = measure_of(column, row)
        variance = self.pooled(table, measure)
        if variance is None and (a.interval is None or b.interval is None):
            return None
        own = [cell.std**2 for cell in (a, b) if cell.std is not None and methods == 1]
        if variance is not None:
            variance += float(np.mean(own)) if own else variance
        square = methods * (variance or 0.0) * 2 / (seeds or self.seeds)
        if variance == 0 and None in (a.std, b.std):
            return None  # seeds that agree in one folder say nothing of the other
        if methods > 1 or variance is None:  # an interval of other things than the spread over seeds
            square += sum(((cell.interval[1] - cell.interval[0]) / (2 * 1.96)) ** 2 for cell in (a, b) if cell.interval)
        return float(square**0.5)


def seeds_behind(cell: ComparedCell) -> list[int]:
    """How many seeds a mean, its std and its interval by Student's t are of; nothing if they do not say."""
    if not cell.std or cell.interval is None:
        return []
    ratio = (cell.interval[1] - cell.interval[0]) / 2 / cell.std
    n = np.arange(2, 31)
    off = np.abs(special.stdtrit(n - 1, 0.975) / np.sqrt(n) / ratio - 1)
    return [int(n[off.argmin()])] if off.min() < 0.01 else []


def cell_limit(cells: int) -> float:
    """Standard errors that the farthest of so many cells exceeds in ALARMS / 2 of all comparisons."""
    return float(special.ndtri(1 - ALARMS / 4 / max(1, cells)))


def column_limit(columns: int, backbones: int) -> float:
    """Root mean square standard errors that the farthest column exceeds in ALARMS / 2 of all comparisons."""
    return float((special.chdtri(backbones, ALARMS / 2 / max(1, columns)) / backbones) ** 0.5)


def by_column(tested: Iterable[ComparedResult]) -> dict[tuple[str, str], list[ComparedResult]]:
    """The cells of every column (table, column) that has more than one."""
    columns: dict[tuple[str, str], list[ComparedResult]] = defaultdict(list)
    for cell in tested:
        columns[cell.table, cell.column].append(cell)
    return {place: cells for place, cells in columns.items() if len(cells) > 1}


def off_together(cells: Sequence[ComparedResult]) -> tuple[float, int]:
    """Root mean square standard errors of a column, every backbone weighing the same, and how many there are."""
    squares: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        squares[cell.backbone].append(cell.errors**2)
    return float(np.mean([np.mean(own) for own in squares.values()]) ** 0.5), len(squares)
