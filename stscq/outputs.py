"""Files that a user names for results: nothing of the user's is lost by writing them.

Where results go is settled, and what is there already is looked at, before any input is decoded. An input (by any path
or link), a folder, a link, a device or a pipe is never replaced, a file only with `--force`. What appears while we work
is not replaced either.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from uuid import uuid4

from stscq.errors import StscqError

LONGEST = 255
"""Bytes of a file's name, on the usual file systems."""
NO_HARD_LINKS = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""How file systems without them (FAT, some of networks) refuse one."""


class OutputError(StscqError):
    """A result would replace what it must not, or cannot be written. (Not in errors.py: no job of the workflow needs
    it, and all of them would run again.)"""


def ends_as_folder(out: str) -> bool:
    """Whether `out` can only be a folder, there or not: out/, `.`, `..`."""
    return out.rpartition("/")[2] in ("", ".", "..")


def check_once(paths: Sequence[str]) -> None:
    """Raises OutputError for a path that is given twice: its results would share their names."""
    seen: set[Path] = set()
    for path in paths:
        if not path:
            raise OutputError("an empty path (a variable that is not set?); name a file or a folder")
        if (full := absolute(path)) in seen:
            raise OutputError(f"{path}: given twice")
        seen.add(full)


def from_common_folder(paths: Sequence[str]) -> list[str]:
    """How the innermost folder that holds all of these paths calls each: a/1.jpg and b/1.jpg, whatever is above."""
    full = [absolute(path) for path in paths]
    common = os.path.commonpath([path.parent for path in full])
    return [path.relative_to(common).as_posix() for path in full]


def absolute(path: str) -> Path:
    """Without following links: people know a file by the name that they give it."""
    return Path(os.path.normpath(Path(path).absolute()))


def folded(path: str) -> str:
    """The same for two paths that some file system takes for one: by case, or by how accents are spelled."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def check_places(places: Iterable[Path], inputs: Iterable[Path]) -> list[Path]:
    """Those of `places` where a file is, which may be replaced with `--force`.

    Raises OutputError for one that may never be replaced, for one that cannot be written, and for two that are one file
    (links in the paths of folders; that the names differ is for the caller to see to).
    """
    places = list(places)
    real = {folder: Path(os.path.realpath(folder)) for folder in {place.parent for place in places}}
    if len({real[place.parent] / place.name for place in places}) < len(places):
        raise OutputError(f"{places[0]} and others: two results would be one file, through a linked folder; unlink it")
    files, known = [], None
    for place in places:
        if max(len(os.fsencode(part)) for part in place.parts or ("",)) > LONGEST:
            raise OutputError(f"{place}: a name of more than {LONGEST} bytes; name another place")
        try:
            kind = os.lstat(place).st_mode
        except FileNotFoundError:
            continue
        except OSError as problem:
            raise OutputError(f"{place}: cannot be written ({problem.strerror})") from problem
        known = identities(inputs) if known is None else known
        if identities([place]) & known:
            raise OutputError(f"{place}: also what is to be read; name another place for the result")
        if not stat.S_ISREG(kind):
            raise OutputError(f"{place}: {what_is(kind)}, which is never replaced; {instead(kind)}")
        files.append(place)
    return files


def identities(files: Iterable[Path]) -> set[tuple[int, int]]:
    """Device and inode of those that are there, the same by whatever path, link or hard link."""
    found = set()
    for file in files:
        try:
            known = file.stat()
        except OSError:
            continue
        found.add((known.st_dev, known.st_ino))
    return found


def what_is(kind: int) -> str:
    """`kind`: the mode of something that is no regular file."""
    if stat.S_ISDIR(kind):
        return "a folder"
    return "a link" if stat.S_ISLNK(kind) else "a device, pipe or socket"


def instead(kind: int) -> str:
    """What to do about it."""
    if stat.S_ISDIR(kind):
        return "name another place"
    return "name what it points to" if stat.S_ISLNK(kind) else "-o - writes to standard output"


def refuse_to_replace(files: Sequence[Path], force: bool) -> None:
    """Raises OutputError when there are any, unless the user said that they may be replaced."""
    if files and not force:
        more = f" (and {len(files) - 1:,} more)" if len(files) > 1 else ""
        raise OutputError(f"{files[0]}{more}: there already; name another place, or replace with --force")


def write_whole(content: bytes, place: Path, force: bool) -> None:
    """A file that appears whole or not at all, and its folders. Raises OutputError."""
    partial = place.with_name(f".partial-{uuid4().hex[:16]}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                file.write(content)
            appear(partial, place, force)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as problem:
        raise OutputError(f"{place}: cannot be written ({problem.strerror})") from problem


def appear(partial: Path, place: Path, force: bool) -> None:
    """Give a complete file its name. Raises OutputError when another file took it meanwhile, and force is not set."""
    try:
        if force:
            partial.replace(place)
        else:
            move_new(partial, place)
    except FileExistsError as problem:
        raise OutputError(f"{place}: appeared while this ran, and is left as it is") from problem


def move_new(file: Path, place: Path) -> None:
    """Raises FileExistsError where there is a file, without a moment between (on file systems with hard links)."""
    try:
        place.hardlink_to(file)
        file.unlink()
    except OSError as problem:
        if problem.errno not in NO_HARD_LINKS:
            raise
        if os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from problem
        file.rename(place)
