"""SHA-256 of files and folders, remembered while they stay as they are: a store of the paper profile has 96 GB.

A file is taken as unchanged while its size, inode and both of its times are. The time of the last change of its inode
cannot be set back by hand, so an edit that restores size and modification time is noticed.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from stscq.files import sha256_of_file

CACHE = Path(".stscq") / "hashes.sqlite"
"""In the folder of the project. It may be deleted; then everything is read again."""


def sha256_of(paths: Iterable[Path], cache: Path = CACHE) -> dict[str, str]:
    """Path as given -> SHA-256. Raises OSError when a file cannot be read."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(cache, timeout=60)) as database, database:
        database.execute("create table if not exists hashes (path text primary key, state text, sha256 text)")
        return {str(path): (of_folder if path.is_dir() else of_file)(database, path) for path in paths}


def of_file(database: sqlite3.Connection, file: Path) -> str:
    return remembered(database, file, lambda: state_of(file), lambda: sha256_of_file(file))


def of_folder(database: sqlite3.Connection, folder: Path) -> str:
    """Over the names and contents of its files, however deep; hidden ones do not count."""

    def files() -> list[Path]:
        found = [Path(top, name) for top, _, names in os.walk(folder, followlinks=True) for name in names]
        return sorted(
            file for file in found if not any(part.startswith(".") for part in file.relative_to(folder).parts)
        )

    def listing(tell: Callable[[Path], str]) -> str:
        lines = (f"{file.relative_to(folder)} {tell(file)}\n" for file in files())
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    return remembered(database, folder, lambda: listing(state_of), lambda: listing(lambda f: of_file(database, f)))


def remembered(database: sqlite3.Connection, path: Path, state_now: Callable[[], str], read: Callable[[], str]) -> str:
    """The digest that was read when the path had this state; else read now, and kept unless it changes meanwhile."""
    place, state = str(path.resolve()), state_now()
    row = database.execute("select sha256 from hashes where path = ? and state = ?", (place, state)).fetchone()
    if row is not None:
        return str(row[0])
    digest = read()
    if state_now() == state:
        database.execute("replace into hashes values (?, ?, ?)", (place, state, digest))
    return digest


def state_of(file: Path) -> str:
    s = file.stat()
    return f"{s.st_size} {s.st_ino} {s.st_mtime_ns} {s.st_ctime_ns}"
