"""Small files of text, and the progress of long work; without torch, so that what only reads results starts at once."""

import json
import os
import sys
from pathlib import Path

from stscq.errors import StscqError


def write_atomically(path: Path, text: str) -> None:
    """The file has its old content or the new one, whenever the process is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def check_permission(file: Path, error: type[StscqError]) -> None:
    """For a reading that failed: raises `error` if this user may not read the file; safetensors calls it missing."""
    try:
        file.open("rb").close()
    except PermissionError as problem:
        raise error(f"{file}: no permission to read it; ask its owner for chmod a+r") from problem
    except OSError:
        pass


def read_log(log: Path) -> list[dict[str, float]]:
    """The lines of a training log; a last line cut off by a kill is left out."""
    if not log.exists():
        return []
    lines = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def progress_seconds() -> float:
    """How often a progress bar is drawn: smoothly on a terminal, rarely in a log file."""
    return 0.2 if sys.stderr.isatty() else 10.0
