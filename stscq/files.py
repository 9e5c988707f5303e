"""Whole files or none, hashes of files, logs; without torch, so that what only reads results starts at once."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stscq.errors import StscqError


@contextmanager
def atomically(path: Path) -> Iterator[Path]:
    """Gives a file to write beside `path`, and renames it to `path` when the block ends without an error.

    So the file has its old content or the new one, whenever the process is killed. Makes the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    yield partial
    partial.replace(path)


def write_atomically(path: Path, text: str) -> None:
    """Text, which is on the disk before the file has its name."""
    with atomically(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sha256_of_file(path: Path) -> str:
    """64 hexadecimal digits. Raises OSError when the file cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
