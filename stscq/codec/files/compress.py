"""Photos to compressed files: one image to a small file, many to an archive."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from stscq.codec.api import BATCH, Codec
from stscq.codec.bundle.description import Selection
from stscq.codec.files import archive
from stscq.codec.files.early import EarlyFace
from stscq.codec.files.resumable import ProcessedImage, resumable_archive
from stscq.codec.files.sources import STDIN, Source, read_faces
from stscq.codec.files.write import write_bytes, write_stdout
from stscq.errors import DataError


class CompressSummary(NamedTuple):
    """left_out: from a name to what was wrong; photo_bytes: of the images that were compressed; new: images that were
    processed in this run."""

    out: str
    images: int
    left_out: dict[str, str]
    photo_bytes: int
    bytes: int
    payload_bytes: int
    seconds: float
    new: int

    @property
    def images_a_second(self) -> float:
        """The speed of this run."""
        return self.new / self.seconds if self.seconds else 0.0


class Writer(Protocol):
    """An archive that is being written: takes the images in order."""

    done: list[ProcessedImage]

    def add(self, image: ProcessedImage, payload: bytes) -> None: ...

    def save(self) -> None: ...


def compress_one(
    codec: Codec,
    source: Source,
    out: str,
    selection: Selection,
    aligned: bool,
    force: bool = False,
    early: EarlyFace | None = None,
) -> CompressSummary:
    """One photo to one file; `-` is standard output. Raises DataError, naming the photo, when it is unusable.

    early: what may be reading it already.
    """
    began = time.monotonic()
    size = codec.bundle.sizes.image_size
    read = early.of(source, size) if early else None
    if read is None:
        (read,) = read_faces([source], size, aligned, workers=1)
    if read.face is None:
        raise DataError(f"{source.shown_name}: {read.problem}")
    (file,) = codec.encode(read.face[None], selection)
    write_bytes(file, out, force)
    payload = len(codec.payload_of(file))
    return CompressSummary(out, 1, {}, read.bytes, len(file), payload, time.monotonic() - began, 1)


def compress_many(
    codec: Codec,
    sources: Sequence[Source],
    out: str,
    selection: Selection,
    aligned: bool,
    workers: int,
    force: bool = False,
) -> CompressSummary:
    """Photos to an archive, in their order; `-` is standard output. Run again after a kill, it goes on where it was.

    Photos that are unusable are left out, and named on standard error at once. Raises DataError when all are.
    """
    began = time.monotonic()
    job = {"model": codec.bundle.fingerprint.hex(), "selection": selection, "aligned": aligned}
    job |= {"effort": codec.effort} if codec.effort else {}
    with open_writer(codec, sources, out, job, force) as writer:
        before = len(writer.done)
        fill(codec, writer, sources, selection, aligned, workers)
        left_out = {image.name: image.problem for image in writer.done if image.problem}
        kept = [image for image in writer.done if not image.problem]
        if not kept:
            raise DataError(f"{len(left_out)} images, all unusable, such as {next(iter(left_out.items()))}")
        if isinstance(writer, StdoutArchive):
            writer.finish()
    size = writer.size if isinstance(writer, StdoutArchive) else Path(out).stat().st_size
    return CompressSummary(
        out,
        len(kept),
        left_out,
        sum(image.photo for image in kept),
        size,
        sum(image.bytes for image in kept),
        time.monotonic() - began,
        len(writer.done) - before,
    )


def fill(
    codec: Codec, writer: Writer, sources: Sequence[Source], selection: Selection, aligned: bool, workers: int
) -> None:
    """Read, encode and add the sources that the writer does not have yet, a batch at a time."""
    rest = sources[len(writer.done) :]
    reads = zip(rest, read_faces(rest, codec.bundle.sizes.image_size, aligned, workers), strict=True)
    photo, kept = (sum(getattr(image, field) for image in writer.done) for field in ("photo", "bytes"))
    with tqdm(total=len(sources), initial=len(writer.done), unit="image", disable=None, desc="compress") as bar:
        while batch := list(islice(reads, BATCH)):
            faces = [read.face for _, read in batch if read.face is not None]
            payloads = iter(codec.payloads(codec.quantise(np.stack(faces), selection)) if faces else [])
            for source, read in batch:
                payload = b"" if read.face is None else next(payloads)
                image = ProcessedImage(source.name, source.key(), len(payload), read.problem, read.bytes)
                if read.problem:
                    tqdm.write(f"left out: {source.shown_name}: {read.problem}", file=sys.stderr)
                writer.add(image, payload)
                photo, kept = photo + image.photo, kept + image.bytes
            writer.save()
            bar.set_postfix_str(f"{(photo - kept) / 1e6:.1f} MB saved", refresh=False)
            bar.update(len(batch))


def open_writer(
    codec: Codec, sources: Sequence[Source], out: str, job: Mapping[str, Any], force: bool
) -> AbstractContextManager[Any]:
    """The writer of an archive OUT. job: what its bytes depend on besides the sources."""
    model = codec.bundle.fingerprint[: archive.MODEL]
    if out == STDIN:
        return nullcontext(StdoutArchive(model))
    return resumable_archive(Path(out), job, model, sources, force)


class StdoutArchive:
    """An archive to standard output, which no later run can go on with."""

    def __init__(self, model: bytes):
        self.head = archive.header(model)
        self.done: list[ProcessedImage] = []
        self.names: list[str] = []
        self.lengths: list[int] = []
        self.size = 0
        self._write(self.head)

    def add(self, image: ProcessedImage, payload: bytes) -> None:
        self.done.append(image)
        if not image.problem:
            self._write(archive.record(self.head, len(self.names), payload))
            self.names.append(image.name)
            self.lengths.append(image.bytes)

    def save(self) -> None:
        """Nothing to do: `add` has written it."""

    def finish(self) -> None:
        self._write(archive.tail(self.head, self.names, self.lengths))

    def _write(self, content: bytes) -> None:
        write_stdout(content)
        self.size += len(content)
