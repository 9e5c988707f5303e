"""The page: every table and figure of a run in one HTML file that needs no network, with where each came from.

python -m stscq.report.page --tables results/demo/tables --figures results/demo/figures --file results/demo/report.html
    --records '["data/demo", "models/demo"]' --profile demo --seeds '[1, 2, 3]'

It takes what is there; the same files give the same page.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stscq.cli_tools import run
from stscq.errors import DataError
from stscq.evaluation.published import blocks
from stscq.files import write_atomically
from stscq.report.arithmetic import checks
from stscq.report.contents import entry
from stscq.report.page_parts import (
    ENDING,
    Picture,
    RunHistory,
    RunInputs,
    ShownTable,
    inputs_of,
    load_record,
    picture,
    read_markdown,
    read_record,
    run_history,
)

HEADLINE = {"tables": "headline", "figures": "rate_accuracy"}
"""What the first screen shows."""
RULES = {"tables": "table", "figures": "figure"}
"""Which rule makes what."""
VERDICTS = {"holds": ("holds", "✓"), "refuted": ("fails", "✕"), "undecided": ("open", "?")}
UNTESTED = ("untested", "–")


class Item(NamedTuple):
    """A table or a figure on the page; links are relative to it. One of shown and image is there."""

    kind: str
    name: str
    title: str
    category: str
    about: str
    rule: str
    command: str
    links: Mapping[str, str]
    inputs: Sequence[RunInputs]
    shown: ShownTable | None
    image: Picture | None


class Claim(NamedTuple):
    """css: class of its badge; symbol: for those who do not tell colours apart."""

    text: str
    verdict: str
    css: str
    symbol: str
    why: str


class Erratum(NamedTuple):
    block: str
    errata: Sequence[str]
    notes: Sequence[str]


def main(tables: Path, figures: Path, records: str, profile: str, seeds: str, file: Path) -> None:
    """Writes FILE. RECORDS (JSON): folders whose records tell machine, versions and time; SEEDS: JSON, to be shown."""
    write_atomically(file, page(tables, figures, json.loads(records), profile, json.loads(seeds), file.parent))


def page(tables: Path, figures: Path, records: Sequence[str], profile: str, seeds: Sequence[int], beside: Path) -> str:
    """HTML. Links lead from the folder `beside` to the files. Raises DataError when there is nothing to show."""
    items = [*table_items(tables, profile, beside), *figure_items(figures, profile, beside)]
    if not items:
        raise DataError(f"{tables}, {figures}: neither tables nor figures; snakemake --cores all all makes them")
    first = [item for item in items if item.name == HEADLINE[item.kind]]
    claims = read_claims(tables / "claims.csv")
    here = Path(__file__).parent
    template = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("page.html")
    return template.render(
        style=(here / "page.css").read_text(encoding="utf-8"),
        profile=profile,
        seeds=seeds,
        first=first,
        claims=claims,
        verdicts=Counter(claim.verdict for claim in claims),
        categories=by_category([item for item in items if item not in first]),
        errata=errata(),
        contradictions=[check for check in checks() if not check.agrees],
        agreeing=sum(check.agrees for check in checks()),
        history=made_by([tables, figures, *map(Path, records)]),
        all_command=command_for("all", profile),
    )


def table_items(folder: Path, profile: str, beside: Path) -> list[Item]:
    found = []
    for file in sorted(folder.glob("*.md")):
        shown = read_markdown(file)
        links = {ending[1:].upper(): file.with_suffix(ending) for ending in (".csv", ".md", ".tex")}
        found.append(item("tables", file, profile, beside, shown.title, links, shown=shown))
    return found


def figure_items(folder: Path, profile: str, beside: Path) -> list[Item]:
    found = []
    for name in sorted({file.stem for ending in ("*.png", "*.svg") for file in folder.glob(ending)}):
        file = folder / f"{name}.png"
        links = {ending[1:].upper(): file.with_suffix(ending) for ending in (".png", ".svg")}
        title = entry("figures", name).title
        found.append(item("figures", file, profile, beside, title, links, image=picture(folder, name)))
    return found


def item(
    kind: str,
    file: Path,
    profile: str,
    beside: Path,
    title: str,
    links: Mapping[str, Path],
    shown: ShownTable | None = None,
    image: Picture | None = None,
) -> Item:
    about = entry(kind, file.stem)
    record = read_record(file.parent, file.stem)
    there = {label: path for label, path in links.items() if path.exists()}
    if record is not None:
        there["record"] = record[0]
    return Item(
        kind=kind,
        name=file.stem,
        title=title,
        category=about.category,
        about=about.about,
        rule=RULES[kind],
        command=command_for(str(file), profile),
        links={label: os.path.relpath(path, beside) for label, path in there.items()},
        inputs=inputs_of(record[1]) if record is not None else [],
        shown=shown,
        image=image,
    )


def command_for(target: str, profile: str) -> str:
    return f"snakemake --cores all {target}" + ("" if profile == "demo" else f" --config profile={profile}")


def by_category(items: Sequence[Item]) -> dict[str, list[Item]]:
    """In the order of contents.yaml, a category's tables before its figures."""
    ordered = sorted(items, key=lambda i: (i.kind == "figures", entry(i.kind, i.name).place, i.name))
    found: dict[str, list[Item]] = {}
    for one in ordered:
        found.setdefault(one.category, []).append(one)
    return found


def read_claims(file: Path) -> list[Claim]:
    """From claims.csv, the rows of whole claims, not of their parts; none where it is not there."""
    if not file.exists():
        return []
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    return [
        Claim(row["claim"], row["verdict"], *VERDICTS.get(row["verdict"], UNTESTED), row["why"])
        for row in frame.to_dict("records")
        if row["claim"]
    ]


def errata() -> list[Erratum]:
    """Errata and notes of the published numbers, block by block."""
    found = [
        Erratum(name, block.get("errata", []), block.get("notes", []))
        for name, block in blocks().items()
        if isinstance(block, Mapping)
    ]
    return [e for e in found if e.errata or e.notes]


def made_by(folders: Sequence[Path]) -> RunHistory:
    """From all records below some folders; those of folders that are not here are not."""
    files = sorted({file for folder in folders for file in folder.rglob(f"*{ENDING}")})
    return run_history([load_record(file) for file in files])


if __name__ == "__main__":
    run(main)
