"""The card of a model bundle: where it comes from, what it can do, and what it cannot; as JSON and as Markdown."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stscq.files import write_atomically

LIMITS = (
    "For aligned faces of one size. Any picture becomes the nearest face it knows: other things come back as faces.",
    "Made for recognising people after decompression, not for looking at, and not for evidence: details are invented.",
    "People unlike those of the training set are reproduced worse; see the tables by group where there are any.",
    "Files can be read only with this very bundle: keep it as long as the files.",
)
EXPECTED = "range-coded, expected on people who were not counted, but chose the smoothing"
"""The key of card["rate"] that says how many bits the payload of a stranger's face is expected to take."""


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """card.json and card.md. Sections of `card` are mappings of a name to a value, or lists of sentences."""
    card = {**card, "limits": list(LIMITS)}
    write_atomically(folder / "card.json", json.dumps(card, indent=1) + "\n")
    write_atomically(folder / "card.md", as_markdown(card))


def as_markdown(card: Mapping[str, Any]) -> str:
    """Every section under its name, and the title above."""
    lines = []
    for section, content in card.items():
        if isinstance(content, Mapping):
            lines += ["", f"## {section.capitalize()}", "", *(f"- {name}: {value}" for name, value in content.items())]
        elif isinstance(content, list):
            lines += ["", f"## {section.capitalize()}", "", *(f"- {sentence}" for sentence in content)]
        else:
            lines += [f"# {content}"]
    return "\n".join(lines) + "\n"
