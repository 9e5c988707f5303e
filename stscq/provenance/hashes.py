"""SHA-256 of files, remembered while they stay as they are: the image stores of the paper profile have 100 GB.

A file is taken as unchanged while its size, inode and both of its times are. The time of the last change of its inode
cannot be set back by hand, so an edit that restores size and modification time is noticed.
"""

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

CACHE = Path(".stscq") / "hashes.sqlite"
"""In the folder of the project. It may be deleted; then everything is read again."""


def sha256_of(files: Iterable[Path], cache: Path = CACHE) -> dict[str, str]:
    """Path as given -> SHA-256. Raises OSError when a file cannot be read."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(cache, timeout=60)) as database, database:
        database.execute("create table if not exists hashes (path text primary key, state text, sha256 text)")
        return {str(file): remembered(database, file) for file in files}


def remembered(database: sqlite3.Connection, file: Path) -> str:
    place, state = str(file.resolve()), state_of(file)
    row = database.execute("select sha256 from hashes where path = ? and state = ?", (place, state)).fetchone()
    if row is not None:
        return str(row[0])
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if state_of(file) == state:  # not while somebody writes it
        database.execute("replace into hashes values (?, ?, ?)", (place, state, digest))
    return digest


def state_of(file: Path) -> str:
    s = file.stat()
    return f"{s.st_size} {s.st_ino} {s.st_mtime_ns} {s.st_ctime_ns}"
