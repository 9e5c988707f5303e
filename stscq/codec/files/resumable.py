"""An archive that is being written: it can be killed at any moment, and goes on from there.

Until it is complete, OUT is `.partial-OUT` (header and records) and `.partial-OUT.jsonl` (a line for the job, then one
an image). A line is written after its record. Lines that do not match the images of a new run, in order, are dropped
with all that follow, and so is a record without a line. Files with these names that hold anything else are left alone.
"""

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from stscq.codec.files.archive import CHECK, HEADER, MAGIC, header, record, tail
from stscq.codec.files.sources import Source
from stscq.errors import StscqError
from stscq.outputs import OutputError, appear


class ProcessedImage(NamedTuple):
    """A line of the journal. key: `Source.key`; bytes: of the payload; problem: why the image was left out, or "";
    photo: bytes of the photo."""

    name: str
    key: str
    bytes: int
    problem: str
    photo: int


class ResumableArchive:
    """Attributes: done, the images processed so far, those of earlier runs included."""

    def __init__(self, data: BinaryIO, journal: BinaryIO, head: bytes, done: list[ProcessedImage]):
        self.data, self.journal, self.head, self.done = data, journal, head, done
        self.written = sum(not image.problem for image in done)

    def add(self, image: ProcessedImage, payload: bytes) -> None:
        """The payload of an image that was left out is ignored."""
        if not image.problem:
            self.data.write(record(self.head, self.written, payload))
            self.written += 1
        self.done.append(image)
        self.journal.write(line(image._asdict()))

    def save(self) -> None:
        """Hand all to the system: a kill of this process loses nothing that was added before."""
        self.data.flush()
        self.journal.flush()

    def finish(self) -> None:
        """Write index and footer."""
        kept = [image for image in self.done if not image.problem]
        self.data.write(tail(self.head, (image.name for image in kept), (image.bytes for image in kept)))
        self.data.flush()


@contextmanager
def resumable_archive(
    out: Path, job: Mapping[str, Any], model: bytes, sources: Sequence[Source], force: bool = False
) -> Iterator[ResumableArchive]:
    """Write OUT; it appears when the block ends without an exception. job: what else the bytes depend on.

    force: a file OUT may be replaced. Raises StscqError when another process is writing it, or the folder cannot be
    written to.
    """
    data_file, journal_file = out.with_name(f".partial-{out.name}"), out.with_name(f".partial-{out.name}.jsonl")
    try:
        check_leftover(data_file, MAGIC)
        check_leftover(journal_file, b"{")
        out.parent.mkdir(parents=True, exist_ok=True)
        data, journal = data_file.open("a+b"), journal_file.open("a+b")
    except OSError as problem:
        raise StscqError(f"{out}: cannot be written ({problem.strerror})") from problem
    with data, journal:
        try:
            fcntl.flock(data, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(data.fileno()), data_file.stat()):
                raise FileExistsError  # it was finished, and is OUT now, between our opening it and locking it
        except OSError as problem:
            raise StscqError(f"{out}: another process is writing it") from problem
        done = resume(data, journal, header(model), job, sources)
        archive = ResumableArchive(data, journal, header(model), done)
        try:
            yield archive
            archive.save()
            archive.finish()
            os.fsync(data.fileno())
            appear(data_file, out, force)
        except OSError as problem:
            raise StscqError(f"{out}: cannot be written ({problem.strerror})") from problem
    journal_file.unlink()


def check_leftover(file: Path, begins: bytes) -> None:
    """Raises OutputError for a file that no earlier run can have left: one that does not begin so, or a link to one."""
    try:
        status = file.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
            with file.open("rb") as content:
                if begins.startswith(content.read(len(begins))):
                    return
    except FileNotFoundError:
        return
    raise OutputError(f"{file}: not what an earlier run left behind; move it away, or name another place")


def resume(
    data: BinaryIO, journal: BinaryIO, head: bytes, job: Mapping[str, Any], sources: Sequence[Source]
) -> list[ProcessedImage]:
    """Cut both files back to what is whole and wanted; returns the images that need not be read again."""
    first = line(job)
    journal.seek(0)
    data.seek(0)
    old = journal.readline() == first and data.read(HEADER.size) == head
    if not old:
        data.truncate(0)
        journal.truncate(0)
        data.write(head)
        data.flush()
        journal.write(first)
        journal.flush()
    size, kept, done = HEADER.size, len(first), []
    if old:
        whole = os.fstat(data.fileno()).st_size
        for source, text in zip(sources, journal, strict=False):
            image = parse(text)
            if image is None or image.name != source.name or image.key != source.key():
                break
            record_size = 0 if image.problem else image.bytes + CHECK
            if size + record_size > whole:
                break
            size, kept = size + record_size, kept + len(text)
            done.append(image)
    data.truncate(size)
    journal.truncate(kept)
    data.seek(0, os.SEEK_END)
    journal.seek(0, os.SEEK_END)
    return done


def line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode() + b"\n"


def parse(text: bytes) -> ProcessedImage | None:
    """None for a line that was not written to its end."""
    try:
        return ProcessedImage(**json.loads(text)) if text.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None
