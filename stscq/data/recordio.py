"""InsightFace training sets in MXNet's RecordIO: train.rec, train.idx, property. Read without mxnet.

train.rec is a sequence of records. Each part of a record is: magic word, length word (three bits that say which part
it is, 29 bits of length), data, zeros up to a multiple of four bytes. A record whose data holds the magic word at a
multiple of four is written in parts; the word between them is left out, and put back here (dmlc-core's recordio.h).
A record is an IRHeader (flag, label, id, id2), `flag` further float32 labels, and an encoded image.
"""

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from stscq.data.pixels import decode, face
from stscq.data.store import Row
from stscq.errors import DataError

MAGIC = 0xCED7230A
MAGIC_BYTES = struct.pack("<I", MAGIC)
WHOLE, FIRST, MIDDLE, LAST = range(4)
HEADER = struct.Struct("<IfQQ")
LENGTH_BITS = 29
MOST_LABELS = 1 << 10
MOST_BYTES = 1 << 27
"""A record of more than 128 MiB is no face: a damaged length word must not fill the memory."""


class Record(NamedTuple):
    """labels: at least one float32; image: encoded bytes (JPEG or PNG), empty in records about the set itself."""

    labels: np.ndarray
    image: bytes


DIGITS = 18
"""Of the largest number in an index: all offsets of a file are below 2^63."""


def read_index(path: Path) -> dict[int, int]:
    """Record number -> offset in the .rec file, in order of number. Raises DataError, naming the line at fault."""
    offsets = {}
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"{path}: not a readable RecordIO index ({problem})") from problem
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if len(fields) != 2 or not all(field.isdecimal() and len(field) <= DIGITS for field in fields):
            raise DataError(f"{path}, line {number}: expected a record number and an offset, got {line[:40]!r}")
        if int(fields[0]) in offsets:
            raise DataError(f"{path}, line {number}: record {fields[0]} is there already; make the index anew")
        offsets[int(fields[0])] = int(fields[1])
    if not offsets:
        raise DataError(f"{path}: no records")
    return dict(sorted(offsets.items()))


def read_raw(file: BinaryIO, offset: int) -> bytes:
    """The data of the record at `offset`, parts joined. Raises DataError when it is damaged or truncated."""
    file.seek(offset)
    parts: list[bytes] = []
    size = 0
    while True:
        head = file.read(8)
        if len(head) < 8:
            raise DataError("truncated: no room for a record's head")
        magic, word = struct.unpack("<II", head)
        part, length = word >> LENGTH_BITS, word & ((1 << LENGTH_BITS) - 1)
        if magic != MAGIC:
            raise DataError(f"no record starts there (magic word {magic:#010x})")
        if part not in ((WHOLE, FIRST) if not parts else (MIDDLE, LAST)):
            raise DataError(f"part {part} of a record out of order")
        size += length
        if size > MOST_BYTES:
            raise DataError(f"a record of more than {MOST_BYTES:,} bytes")
        data = file.read(length)
        if len(data) < length:
            raise DataError(f"truncated: {len(data)} of {length} bytes")
        parts.append(data)
        file.seek(-length % 4, 1)
        if part in (WHOLE, LAST):
            return MAGIC_BYTES.join(parts)


def parse(raw: bytes) -> Record:
    """Header, labels and image of a record. Raises DataError when it is too short for what it announces."""
    if len(raw) < HEADER.size:
        raise DataError(f"{len(raw)} bytes are no record")
    flag, label, _, _ = HEADER.unpack_from(raw)
    end = HEADER.size + 4 * flag
    if flag > MOST_LABELS or len(raw) < end:
        raise DataError(f"{flag} labels do not fit into a record of {len(raw)} bytes")
    labels = np.frombuffer(raw, "<f4", flag, HEADER.size) if flag else np.array([label], np.float32)
    return Record(labels, raw[end:])


class RecordImage(NamedTuple):
    """One image of a training set; label is None when the record is damaged."""

    path: Path
    number: int
    offset: int
    label: int | None

    @property
    def row(self) -> Row:
        return Row(f"{self.number:08d}", str(self.label), f"{self.path.name}, record {self.number}")

    def image(self, size: int) -> np.ndarray:
        with self.path.open("rb") as file:
            record = parse(read_raw(file, self.offset))
        return face(decode(record.image), size)


def open_training_set(folder: Path) -> list[RecordImage]:
    """The images of FOLDER/train.rec, in order of number. Record 0, when it carries labels, says where they end.

    Raises DataError when a file is missing, or record 0 is damaged.
    """
    path = folder / "train.rec"
    offsets = read_index(folder / "train.idx")
    try:
        with path.open("rb") as file:
            first = parse(read_raw(file, offsets[0])) if 0 in offsets else None
            end = int(first.labels[0]) if first is not None and not first.image else max(offsets) + 1
            numbers = [number for number in offsets if number > 0 or first is None or first.image]
            images = [RecordImage(path, n, offsets[n], read_label(file, offsets[n])) for n in numbers if n < end]
    except (OSError, ValueError, OverflowError, DataError) as problem:  # a label that is no whole number
        raise DataError(f"{path}: record 0: {problem}") from problem
    if not images:
        raise DataError(f"{path}: no images")
    return images


def read_label(file: BinaryIO, offset: int) -> int | None:
    """The person in a record, without its image; None when the record is damaged."""
    file.seek(offset + 8)
    head = file.read(HEADER.size + 4)
    try:
        flag, label, _, _ = HEADER.unpack_from(head)
        return int(struct.unpack_from("<f", head, HEADER.size)[0] if flag else label)
    except (struct.error, ValueError, OverflowError):
        return None
