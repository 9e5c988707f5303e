"""A table of numbers as CSV (every number in a column of its own) and as Markdown (as a reader wants them)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from stscq.evaluation.statistics import Paired, summarise
from stscq.files import write_atomically

DIGITS = {"macs": 1, "lpips": 4, "fid": 2, "mean_acc": 2, "psnr": 2, "bpp": 4, "ids": 4, "ids_centred": 4, "ssim": 4}


class Table(NamedTuple):
    name: str
    title: str
    frame: pd.DataFrame
    notes: Sequence[str]


def summary_columns(name: str, values: Sequence[float]) -> dict[str, float]:
    """mean, std and 95 % interval over seeds, as NAME, NAME_std, NAME_low, NAME_high."""
    s = summarise(values)  # type: ignore[arg-type]
    return {name: s.mean, f"{name}_std": s.std, f"{name}_low": s.low, f"{name}_high": s.high}


def paired_columns(name: str, paired: Paired) -> dict[str, float]:
    """Difference, 95 % interval and p-value, as NAME, NAME_low, NAME_high, NAME_p."""
    return {name: paired.difference, f"{name}_low": paired.low, f"{name}_high": paired.high, f"{name}_p": paired.p}


def digits_of(column: str) -> int:
    """Decimal places, by the measure that the column's name starts or ends with."""
    for measure, digits in DIGITS.items():
        if measure in column:
            return digits
    return 2


def cell(row: pd.Series, column: str) -> str:
    """One Markdown cell; it takes in the _std, _low, _high and _p columns that belong to it."""
    value = row[column]
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    if not isinstance(value, float):
        return str(value)
    d = digits_of(column)
    if f"{column}_p" in row:
        low, high = row[f"{column}_low"], row[f"{column}_high"]
        return f"{value:+.{d}f} [{low:+.{d}f}, {high:+.{d}f}] p={row[f'{column}_p']:.3f}"
    text = f"{value:.{d}f}"
    if f"{column}_std" in row and not pd.isna(row[f"{column}_std"]):
        text += f" ± {row[f'{column}_std']:.{d}f} [{row[f'{column}_low']:.{d}f}, {row[f'{column}_high']:.{d}f}]"
    return text


def shown_columns(frame: pd.DataFrame) -> list[str]:
    """All columns but those that another cell takes in."""
    endings = ("_std", "_low", "_high", "_p")
    return [c for c in frame.columns if not any(c.endswith(e) and c.removesuffix(e) in frame.columns for e in endings)]


def to_markdown(table: Table) -> str:
    columns = shown_columns(table.frame)
    cells = pd.DataFrame([{c: cell(row, c) for c in columns} for _, row in table.frame.iterrows()], columns=columns)
    notes = "".join(f"- {note}\n" for note in table.notes)
    return f"# {table.title}\n\n{cells.to_markdown(index=False, disable_numparse=True)}\n\n{notes}"


def write_table(table: Table, out: Path) -> None:
    write_atomically(out / f"{table.name}.csv", table.frame.to_csv(index=False, float_format="%.6g"))
    write_atomically(out / f"{table.name}.md", to_markdown(table))
