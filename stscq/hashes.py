"""SHA-256 of files and folders, remembered while they stay as they are: a store of the paper profile has 96 GB.

A file is taken as unchanged while its size, inode and both of its times are. The time of the last change of its inode
cannot be set back by hand, so an edit that restores size and modification time is noticed.
"""

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stscq.files import sha256_of_file

CACHE = Path(".stscq") / "hashes.sqlite"
"""In the folder of the project. It may be deleted; then everything is read again."""
EVERY = 1.0
"""Seconds after which what was read is written down in one go: others may write meanwhile, and a kill loses no more."""


class Memory:
    """Digests by path and state, of this process and of those before."""

    def __init__(self, database: sqlite3.Connection):
        self.database, self.fresh, self.written = database, list[tuple[str, str, str]](), time.monotonic()
        self.database.execute("create table if not exists hashes (path text primary key, state text, sha256 text)")

    def recall(self, place: str, state: str) -> str | None:
        known = self.database.execute("select sha256 from hashes where path = ? and state = ?", (place, state))
        row = known.fetchone()
        return None if row is None else str(row[0])

    def keep(self, place: str, state: str, digest: str) -> None:
        self.fresh.append((place, state, digest))
        if time.monotonic() - self.written > EVERY:
            self.write()

    def write(self) -> None:
        with self.database:
            self.database.executemany("replace into hashes values (?, ?, ?)", self.fresh)
        self.fresh, self.written = [], time.monotonic()


@contextmanager
def memory(cache: Path) -> Iterator[Memory]:
    """What is read when a later file raises is kept too."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(cache, timeout=60)
    try:
        opened = Memory(database)
        try:
            yield opened
        finally:
            opened.write()
    finally:
        database.close()


def sha256_of(paths: Iterable[Path], cache: Path = CACHE) -> dict[str, str]:
    """Path as given -> SHA-256. Raises OSError when a file cannot be read."""
    with memory(cache) as known:
        return {str(path): (of_folder if path.is_dir() else of_file)(known, path) for path in paths}


def of_file(known: Memory, file: Path) -> str:
    return remembered(known, file, lambda: state_of(file), lambda: sha256_of_file(file))


def of_folder(known: Memory, folder: Path) -> str:
    """Over the names and contents of its files, however deep; hidden ones do not count."""

    def files() -> list[Path]:
        found = [Path(top, name) for top, _, names in os.walk(folder, followlinks=True) for name in names]
        return sorted(
            file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)
        )

    def listing(tell: Callable[[Path], str]) -> str:
        lines = (f"{file.relative_to(folder)} {tell(file)}\n" for file in files())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    return remembered(known, folder, lambda: listing(state_of), lambda: listing(lambda f: of_file(known, f)))


def remembered(known: Memory, path: Path, state_now: Callable[[], str], read: Callable[[], str]) -> str:
    """The digest that was read when the path had this state; else read now, and kept unless it changes meanwhile."""
    place, state = str(path.resolve()), state_now()
    digest = known.recall(place, state)
    if digest is None:
        digest = read()
        if state_now() == state:
            known.keep(place, state, digest)
    return digest


def state_of(file: Path) -> str:
    s = file.stat()
    return f"{s.st_size} {s.st_ino} {s.st_mtime_ns} {s.st_ctime_ns}"
