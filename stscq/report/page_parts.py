"""What the page is put together from: tables as their Markdown shows them, pictures as data, records of runs."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markdown_it import MarkdownIt
from PIL import Image

from stscq.errors import DataError
from stscq.provenance.commit import describe_commit

ENDING = ".run.json"
MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
INTERVAL = re.compile(r"^(?P<value>[-+]?[\d.]+(?: ± [\d.]+)?)(?P<interval> \[.*)$")
NUMBER = re.compile(r"^[-+−]?\d")
INCH, WIDTH = 110, 640
"""CSS pixels: a little larger than printed; and of figures that do not say."""
MEDIA = {".png": "image/png", ".svg": "image/svg+xml"}


class ShownCell(NamedTuple):
    """value, and its interval (and p) where it has one: 75.35 ± 2.96 and [68.00, 82.71]."""

    value: str
    interval: str


class ShownTable(NamedTuple):
    """A table as a reader sees it: which columns hold numbers, rows of cells, notes as HTML."""

    title: str
    columns: Sequence[str]
    numeric: Sequence[bool]
    rows: Sequence[Sequence[ShownCell]]
    notes: Sequence[str]


class Picture(NamedTuple):
    """uri: the file itself, as data; width: in CSS pixels, of which a figure gets at most what the page has."""

    uri: str
    width: int


class RunInputs(NamedTuple):
    """What a run read under one option: so many files, in which folder, and one hash over all of theirs."""

    option: str
    folder: str
    files: int
    digest: str


def read_markdown(file: Path) -> ShownTable:
    """A table as stscq.report.render writes it. Raises DataError when there is no table in the file."""
    title = ""
    cells: list[list[str]] = []
    notes: list[str] = []
    tokens = MARKDOWN.parse(file.read_text(encoding="utf-8"))
    for before, token in pairwise(tokens):
        if before.type == "heading_open" and before.tag == "h1":
            title = token.content
        elif before.type == "tr_open":
            cells.append([])
        if before.type in ("th_open", "td_open"):
            cells[-1].append(token.content)
        elif before.type == "paragraph_open" and before.level > 0:  # inside a list
            notes.append(MARKDOWN.renderInline(token.content))
    if not cells:
        raise DataError(f"{file}: no table in it; make it again")
    columns, *rows = cells
    body = [[cell(text) for text in row] for row in rows]
    return ShownTable(title or file.stem, columns, numeric_columns(rows), body, notes)


def cell(text: str) -> ShownCell:
    """Splits a number from its interval, which stands below it."""
    found = INTERVAL.match(text)
    return ShownCell(found["value"], found["interval"].strip()) if found else ShownCell(text, "")


def numeric_columns(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Columns whose cells are numbers or empty; `16 x 1024` is a size, and text."""

    def is_number(text: str) -> bool:
        return not text or (bool(NUMBER.match(text)) and " x " not in text)

    return [all(map(is_number, column)) for column in zip(*rows, strict=True)]


def picture(folder: Path, name: str) -> Picture:
    """A figure, of the smaller of its files; as wide as it would be printed where its PNG says so."""
    found = [folder / f"{name}{ending}" for ending in MEDIA if (folder / f"{name}{ending}").exists()]
    smallest = min(found, key=lambda file: file.stat().st_size)
    data = base64.b64encode(smallest.read_bytes()).decode()
    width = WIDTH
    png = folder / f"{name}.png"
    if png in found:
        with Image.open(png) as image:
            width = round(INCH * image.width / float(image.info.get("dpi", (INCH, INCH))[0]))
    return Picture(f"data:{MEDIA[smallest.suffix]};base64,{data}", width)


def read_record(folder: Path, name: str) -> tuple[Path, Mapping[str, Any]] | None:
    """The record of what made NAME: its own, or the only one in its folder; None where there is none."""
    own, others = folder / f"{name}{ENDING}", sorted(folder.glob(f"*{ENDING}"))
    file = own if own.exists() else others[0] if len(others) == 1 else None
    return None if file is None else (file, load_record(file))


def load_record(file: Path) -> Mapping[str, Any]:
    """Raises DataError when it is damaged."""
    try:
        found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, Mapping) else {}
    except ValueError as problem:
        raise DataError(f"{file}: no record of a run ({problem}); run its rule again") from problem


def inputs_of(record: Mapping[str, Any]) -> list[RunInputs]:
    """The inputs by option, without listing hundreds of files: the record beside the table has them all."""
    found = []
    for option, hashes in record.get("inputs", {}).items():
        if hashes:
            folder = str(common_folder([Path(name) for name in hashes]))
            text = json.dumps(hashes, sort_keys=True)
            found.append(RunInputs(option, folder, len(hashes), hashlib.sha256(text.encode()).hexdigest()[:12]))
    return found


def common_folder(paths: Sequence[Path]) -> Path:
    """The file itself where there is one, else the deepest folder that holds all."""
    if len(paths) == 1:
        return paths[0]
    parts = zip(*(path.parent.parts for path in paths), strict=False)
    together = []
    for names in parts:
        if len(set(names)) > 1:
            break
        together.append(names[0])
    return Path(*together)


class RunHistory(NamedTuple):
    """How a run came to be, from all of its records. steps: a module, its jobs and their seconds."""

    records: int
    seconds: float
    first: str
    last: str
    machines: Sequence[str]
    commits: Sequence[str]
    versions: Mapping[str, str]
    steps: Sequence[tuple[str, int, float]]


def run_history(records: Sequence[Mapping[str, Any]]) -> RunHistory:
    frame = pd.DataFrame([{"module": r["module"], "seconds": r["seconds"], "began": r["began"]} for r in records])
    if frame.empty:
        return RunHistory(0, 0.0, "", "", [], [], {}, [])
    by_module = frame.groupby("module", sort=False).seconds.agg(["size", "sum"]).sort_values("sum", ascending=False)
    versions: dict[str, set[str]] = {}
    for record in records:
        for name, number in record["versions"].items():
            versions.setdefault(name, set()).add(str(number))
    return RunHistory(
        records=len(frame),
        seconds=float(frame.seconds.sum()),
        first=str(frame.began.min()),
        last=str(frame.began.max()),
        machines=sorted({describe_machine(r["machine"]) for r in records}),
        commits=sorted({describe_commit(r["git"]) for r in records}),
        versions={name: ", ".join(sorted(numbers)) for name, numbers in versions.items()},
        steps=[(str(m), int(row["size"]), float(row["sum"])) for m, row in by_module.iterrows()],
    )


def describe_machine(machine: Mapping[str, Any]) -> str:
    gpu = f", {machine['gpu']}" if "gpu" in machine else ""
    return f"{machine['cpu']}, {machine['cores']} cores{gpu}"
