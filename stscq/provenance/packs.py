"""The numbers of a run as one file: what its tables, figures and claims are made of, with Snakemake's notes of it.

A hundredth of the run: no data, no pictures of test people, no compressed files of theirs, no weights. Whoever has it
makes the tables, and other statistics, without data set and without training; and what several machines computed of one
run comes together. A zip: the numbers by their paths in the project, and below NOTES the note of every output.
"""

import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from stscq.errors import DataError
from stscq.files import atomically
from stscq.provenance.numbers import is_made, is_number, note_place, noted, read_note, shows_people, speaks_of

NOTES = "notes/"
LARGEST, MOST = 1 << 30, 200_000
"""Bytes and members that a pack may unfold to."""
DAMAGED = (OSError, EOFError, NotImplementedError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile)
"""What reading a zip raises: cut off, changed, encrypted, or packed in a way that Python does not know."""
TIME = (1980, 1, 1, 0, 0, 0)
"""Of all members: the same numbers give the same file."""
OLD = (315532800, 315532800)
"""Access and change of what is laid out (1980): nothing of it is newer than what was made of it."""


class PackError(DataError):
    """A pack is damaged or foreign, or would replace other results."""


class Pack(NamedTuple):
    """What is in a pack: content by path, and Snakemake's notes."""

    numbers: dict[PurePosixPath, bytes]
    notes: dict[PurePosixPath, dict[str, Any]]


def pack(profile: str, file: Path, without: Sequence[Path] = ()) -> int:
    """Write FILE with the numbers of a profile's run in this folder; how many they are. Jobs may be running.

    without: packs whose members need not be in this one. Raises PackError when there is nothing to pack.
    """
    here = {member: crc for other in without for member, crc in checksums(other).items()}
    notes = {path: note for path in noted(profile) if (note := read_note(path))}
    members = {str(path): content for path, note in notes.items() if (content := finished(path, note)) is not None}
    new = {name: content for name, content in members.items() if here.get(name) != zlib.crc32(content)}
    count = len(new)
    if not new:
        raise PackError(
            f"{file}: nothing to pack: no numbers of profile {profile} here, or the other packs have them all"
        )
    # Notes of all outputs, packed or not: Snakemake believes checksums only where it has those of all that a job wrote.
    noted_ones = {f"{NOTES}{path}": json.dumps(note).encode() for path, note in notes.items()}
    # And those of the numbers in it, also where another pack has the note alone: a pack is checked by itself.
    new |= {
        name: content
        for name, content in noted_ones.items()
        if name.removeprefix(NOTES) in new or here.get(name) != zlib.crc32(content)
    }
    with atomically(file) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, content in new.items():
            archive.writestr(zipfile.ZipInfo(name, TIME), content, zipfile.ZIP_DEFLATED, 9)
    return count


def finished(path: PurePosixPath, note: dict[str, Any]) -> bytes | None:
    """The content of a number; None of what is no number, is not here, or is just being written anew."""
    if not is_number(path) or not Path(path).is_file():
        return None
    content = Path(path).read_bytes()
    return content if speaks_of(note, path, content) and not shows_people(path) else None


def unpack(files: Sequence[Path]) -> int:
    """Lay the numbers of packs out in this folder, with their notes; how many were not here before.

    All packs are read before anything is written. What is here with the same content stays, and so do records that
    differ (*.run.json: machines that made the same file differ in name and time). Raises PackError for a pack that is
    damaged or holds anything else, for numbers that contradict those here or in another pack, and while a Snakemake
    works on the same profile.
    """
    if not Path("Snakefile").is_file():
        raise PackError("unpack packs in the folder of a project: there is no Snakefile here")
    found = Pack({}, {})
    for file in files:
        add(found, read(file), file)
    new = {path: content for path, content in found.numbers.items() if not Path(path).exists()}
    locks = [FileLock(f".snakemake/{profile}.running") for profile in sorted({path.parts[1] for path in found.notes})]
    Path(".snakemake").mkdir(exist_ok=True)
    try:
        for lock in locks:
            lock.acquire(blocking=False)
        lay_out(new, found.notes)
    except Timeout as problem:
        raise PackError("a Snakemake works on this profile here; unpack when it has ended") from problem
    except OSError as problem:
        raise PackError(f"{problem.filename}: cannot be written ({problem.strerror})") from problem
    finally:
        for lock in locks:
            lock.release()
    return len(new)


def add(found: Pack, brought: Pack, file: Path) -> None:
    """Put what FILE brought to what other packs did. Raises PackError where it contradicts them, or what is here."""
    for path, content in brought.numbers.items():
        if Path(path).exists() and not Path(path).is_file():
            raise PackError(f"{file}: there is a folder here where {str(path)!r} belongs; move it away")
        there = Path(path).read_bytes() if Path(path).exists() else found.numbers.get(path, content)
        if there != content and not path.name.endswith(".run.json"):
            raise PackError(
                f"{file}: {str(path)!r} is of another run than what is there; delete that, or unpack elsewhere"
            )
        if path not in found.numbers:
            found.numbers[path], found.notes[path] = content, brought.notes[path]
    for path, note in brought.notes.items():
        found.notes.setdefault(path, note)


def lay_out(new: Mapping[PurePosixPath, bytes], notes: Mapping[PurePosixPath, dict[str, Any]]) -> None:
    """First the files, then their notes: a file without one is made again. A note that is here stays, but for a file
    that was not: then it is of another one, and so is Snakemake's mark that a job was killed while it wrote it."""
    for path, content in new.items():
        with atomically(Path(path)) as partial:
            partial.write_bytes(content)
            os.utime(partial, OLD)
    for path, note in notes.items():
        place = note_place(path)
        if path in new or not place.exists():
            with atomically(place) as partial:
                partial.write_text(json.dumps(note), encoding="utf-8")
        if path in new:
            Path(".snakemake", "incomplete", *place.parts[3:]).unlink(missing_ok=True)


def checksums(file: Path) -> dict[str, int]:
    """CRC-32 of each member, by its name."""
    with opened(file) as archive:
        return {member.filename: member.CRC for member in archive.infolist()}


def opened(file: Path) -> zipfile.ZipFile:
    """Raises PackError."""
    try:
        return zipfile.ZipFile(file)
    except DAMAGED as problem:
        raise PackError(f"{file}: no pack of a run's numbers ({problem})") from problem


def read(file: Path) -> Pack:
    """Raises PackError unless the file is a whole pack, of one profile, whose notes speak of its numbers."""
    found = Pack({}, {})
    with opened(file) as archive:
        members = archive.infolist()
        if len(members) > MOST or sum(member.file_size for member in members) > LARGEST:
            raise PackError(
                f"{file}: unfolds to more than {LARGEST >> 20} MiB or {MOST} files, which no run's numbers do"
            )
        for member in members:
            path = PurePosixPath(member.filename.removeprefix(NOTES))
            is_note = member.filename.startswith(NOTES)
            if not (is_made if is_note else is_number)(path) or member.compress_type != zipfile.ZIP_DEFLATED:
                raise PackError(f"{file}: holds {member.filename!r}, which is no part of a run's numbers")
            content = content_of(archive, member, file)
            if is_note:
                found.notes[path] = parsed(content, path, file)
            else:
                found.numbers[path] = content
    if len({path.parts[1] for path in (*found.numbers, *found.notes)}) > 1:
        raise PackError(f"{file}: of several profiles; a pack is of one")
    for path, content in found.numbers.items():
        if not speaks_of(found.notes.get(path, {}), path, content):
            raise PackError(f"{file}: {str(path)!r} is not what its note speaks of")
    return found


def content_of(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file: Path) -> bytes:
    """At most as many bytes as the zip says, whatever lies in it."""
    try:
        with archive.open(member) as opened_member:
            return opened_member.read(member.file_size)
    except DAMAGED as problem:
        raise PackError(f"{file}: {member.filename!r} is damaged ({problem})") from problem


def parsed(content: bytes, path: PurePosixPath, file: Path) -> dict[str, Any]:
    """A note. Raises PackError."""
    try:
        note = json.loads(content)
    except (ValueError, RecursionError):
        note = None
    if not isinstance(note, dict) or not isinstance(note.get("input_checksums"), dict):
        raise PackError(f"{file}: the note of {str(path)!r} is none of Snakemake's")
    return note
