"""A table as CSV (every number in a column of its own), and as Markdown and LaTeX (as a reader wants them)."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stscq.evaluation.statistics import Paired, summarise
from stscq.files import write_atomically

DIGITS = {"macs": 1, "lpips": 4, "fid": 2, "mean_acc": 2, "psnr": 2, "bpp": 4, "ids": 4, "ids_centred": 4, "ssim": 4}


class Table(NamedTuple):
    name: str
    title: str
    frame: pd.DataFrame
    notes: Sequence[str]
    digits: int = 2
    """Decimal places of columns whose names say nothing of their measure."""


def summary_columns(name: str, values: Sequence[float]) -> dict[str, float]:
    """mean, std and 95 % interval over seeds, as NAME, NAME_std, NAME_low, NAME_high."""
    s = summarise(values)  # type: ignore[arg-type]
    return {name: s.mean, f"{name}_std": s.std, f"{name}_low": s.low, f"{name}_high": s.high}


def paired_columns(name: str, paired: Paired) -> dict[str, float]:
    """Difference, 95 % interval and p-value, as NAME, NAME_low, NAME_high, NAME_p."""
    return {name: paired.difference, f"{name}_low": paired.low, f"{name}_high": paired.high, f"{name}_p": paired.p}


def digits_of(column: str, otherwise: int) -> int:
    """Decimal places, by the measure in the column's name."""
    return next((digits for measure, digits in DIGITS.items() if measure in column), otherwise)


def cell(row: Mapping[str, Any], column: str, otherwise: int = 2) -> str:
    """One cell for readers; it takes in the _std, _low, _high and _p columns that belong to it."""
    value = row[column]
    if value is None or pd.isna(value):
        return ""
    if not isinstance(value, float):
        return str(value)
    d = digits_of(column, otherwise)
    if f"{column}_p" in row:
        low, high = row[f"{column}_low"], row[f"{column}_high"]
        return f"{value:+.{d}f} [{low:+.{d}f}, {high:+.{d}f}] p={row[f'{column}_p']:.3f}"
    text = f"{value:.{d}f}"
    if f"{column}_std" in row and not pd.isna(row[f"{column}_std"]):
        text += f" ± {row[f'{column}_std']:.{d}f}"
    if f"{column}_low" in row and not pd.isna(row[f"{column}_low"]):
        text += f" [{row[f'{column}_low']:.{d}f}, {row[f'{column}_high']:.{d}f}]"
    return text


def shown_columns(frame: pd.DataFrame) -> list[str]:
    """All columns but those that another cell takes in."""
    endings = ("_std", "_low", "_high", "_p")
    return [c for c in frame.columns if not any(c.endswith(e) and c.removesuffix(e) in frame.columns for e in endings)]


def measured(frame: pd.DataFrame, column: Hashable) -> bool:
    """Whether others say how sure a column's numbers are: then they are no counts, even where all are whole."""
    return any(f"{column}{ending}" in frame for ending in ("_std", "_low", "_p"))


def whole_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """With counts beside empty cells as whole numbers: pandas makes floats of them, in a CSV too."""
    frame = frame.infer_objects()
    floats = frame.select_dtypes("float")
    whole = [c for c in floats if (floats[c].dropna() % 1 == 0).all() and not measured(frame, c)]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def cells(table: Table) -> pd.DataFrame:
    """The table as a reader sees it, all text. Whole numbers beside empty cells stay whole."""
    columns = shown_columns(table.frame)
    frame = whole_numbers(table.frame)
    # By columns: a row of numbers alone would turn whole ones into floats.
    records = [dict(zip(frame.columns, values, strict=True)) for values in frame.itertuples(index=False, name=None)]
    shown = [{c: cell(record, c, table.digits) for c in columns} for record in records]
    return pd.DataFrame(shown, columns=columns)


def to_markdown(table: Table) -> str:
    notes = "".join(f"- {note}\n" for note in table.notes)
    return f"# {table.title}\n\n{cells(table).to_markdown(index=False, disable_numparse=True)}\n\n{notes}"


def to_latex(table: Table) -> str:
    """A table with booktabs' lines, notes below; \\input{} it where booktabs is loaded."""
    shown = cells(table)
    for column in shown:
        shown[column] = shown[column].map(in_latex)
    shown.columns = [in_latex(column) for column in shown.columns]
    text = str(shown.to_latex(index=False, caption=in_latex(table.title), label=f"tab:{table.name}", position="t"))
    notes = "".join(f"{in_latex(note)}\\\\\n" for note in table.notes)
    return text.replace("\\end{table}", f"\\par\\footnotesize\n{notes}\\end{{table}}")


SPECIAL = {
    "\\": r"\textbackslash{}", "±": r"$\pm$", "†": r"\dag{}", "≥": r"$\ge$", "≤": r"$\le$", "<": r"$<$", ">": r"$>$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", **{character: f"\\{character}" for character in "&%$#_{}"},
}  # fmt: skip


def in_latex(text: str) -> str:
    return "".join(SPECIAL.get(character, character) for character in text)


def write_table(table: Table, stem: Path) -> None:
    """STEM.csv, STEM.md and STEM.tex."""
    write_atomically(stem.with_suffix(".csv"), table.frame.to_csv(index=False, float_format="%.6g"))
    write_atomically(stem.with_suffix(".md"), to_markdown(table))
    write_atomically(stem.with_suffix(".tex"), to_latex(table))
