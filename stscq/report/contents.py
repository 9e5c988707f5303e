"""What each table and figure is about, and under which heading it stands: contents.yaml."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import yaml


class ContentsEntry(NamedTuple):
    """place: in the order of contents.yaml. title: of a figure; a table has its own."""

    place: int
    title: str
    category: str
    about: str


def entry(kind: str, name: str) -> ContentsEntry:
    """The entry of a table (kind: tables) or a figure (kind: figures); an unknown one comes last, under Other."""
    known = contents()[kind]
    for place, (beginning, found) in enumerate(known.items()):
        if name == beginning or name.startswith(f"{beginning}_"):
            of = name.removeprefix(beginning).removeprefix("_")
            title = f"{found.get('title', beginning)}: {of}" if of else found.get("title", beginning)
            return ContentsEntry(place, title, found["category"], found["about"])
    return ContentsEntry(len(known), name, "Other", "")


@cache
def contents() -> Mapping[str, Any]:
    text = (files("stscq.report") / "contents.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found
