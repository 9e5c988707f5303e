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


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """card.json and card.md. Sections of `card` are mappings of a name to a value, or lists of sentences."""
    card = {**card, "limits": list(LIMITS)}
    write_atomically(folder / "card.json", json.dumps(card, indent=1) + "\n")
    lines = []
    for section, content in card.items():
        if isinstance(content, Mapping):
            lines += ["", f"## {section.capitalize()}", "", *(f"- {name}: {value}" for name, value in content.items())]
        elif isinstance(content, list):
            lines += ["", f"## {section.capitalize()}", "", *(f"- {sentence}" for sentence in content)]
        else:
            lines += [f"# {content}"]
    write_atomically(folder / "card.md", "\n".join(lines) + "\n")
