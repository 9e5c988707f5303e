"""Many compressed images in one file. Byte by byte in docs/bitstream.md.

    header    16 bytes: MAGIC, version, flags, 10 bytes of the model's fingerprint
    records   one after the other: payload, then its CRC-16
    index     zlib: the length of every payload (2 bytes each), then every name with a zero byte behind it
    footer    28 bytes: number of images, bytes of the index before and after zlib, CRC-32, END

All numbers are big-endian. The index comes last, so that an archive can be written to a pipe, a record at a time; the
footer has a fixed size, so that a reader finds the index from the end and any image from the index.
"""

import io
import os
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np

from stscq.codec.bitstream.image_file import crc16
from stscq.errors import BitstreamError

MAGIC = b"\x89STQ"
END = b"QTS\x89"
VERSION = 2
HEADER = struct.Struct(">4sBB10s")
FOOTER = struct.Struct(">QQII4s")
MODEL = 10
"""Bytes of the fingerprint in an archive."""
CHECK = 2
"""Bytes of a record's checksum."""
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Unicode's marks that reverse the text behind them, in which a name can be made to look like another."""
MAX_NAME = 4096
"""Bytes of the longest name."""
MAX_UNPACKED, MAX_RATIO = 1 << 20, 40
"""An index may unpack to MAX_UNPACKED bytes, or to MAX_RATIO times its bytes in the file: a small file cannot fill the
memory."""


def header(model: bytes) -> bytes:
    """The first bytes of an archive. model: the fingerprint's first MODEL bytes."""
    return HEADER.pack(MAGIC, VERSION, 0, model)


def record(head: bytes, number: int, payload: bytes) -> bytes:
    """Image `number` of the archive that begins with `head`. Its checksum tells it from the same image elsewhere."""
    return payload + checksum(head, number, payload)


def checksum(head: bytes, number: int, payload: bytes) -> bytes:
    return crc16(head, number.to_bytes(8, "big"), payload).to_bytes(CHECK, "big")


def tail(head: bytes, names: Iterable[str], lengths: Iterable[int]) -> bytes:
    """Index and footer of the records that were written."""
    sizes = np.fromiter(lengths, ">u2")
    index = sizes.tobytes() + b"".join(check_name(name).encode() + b"\0" for name in names)
    packed = zlib.compress(index, 9)
    if len(index) > max(MAX_UNPACKED, MAX_RATIO * len(packed)):
        packed = zlib.compress(index, 0)
    numbers = struct.pack(">QQI", len(sizes), len(index), len(packed))
    return packed + numbers + struct.pack(">I", zlib.crc32(head + packed + numbers)) + END


def storable(name: str) -> str:
    """A file's name for an archive: what cannot stand in one becomes %0A and the like, by the bytes of its name."""
    return "".join(
        "".join(f"%{byte:02X}" for byte in os.fsencode(letter)) if forbidden(letter) else letter for letter in name
    )


def forbidden(letter: str) -> bool:
    """Controls, halves of pairs and undecodable bytes, ends of lines, Windows' slash, and what turns the direction of
    the text around it. All else is a letter of somebody's language."""
    return letter in TURNING or letter == "\\" or unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp")


def check_name(name: str) -> str:
    """Raises BitstreamError for a name that could lead out of a folder, or that no archive holds (see `storable`)."""
    parts = name.split("/")
    if not name or any(part in ("", ".", "..") for part in parts) or any(map(forbidden, name)):
        raise BitstreamError(f"{name!r} is no name for an image in an archive: use relative names")
    if len(name.encode()) > MAX_NAME:
        raise BitstreamError(f"{name[:40]!r}...: a name of more than {MAX_NAME} bytes")
    return name


class Archive:
    """An archive that is open for reading. Reads the index, and a record when it is asked for.

    Attributes: model (MODEL bytes of a fingerprint), names, bytes (of the file), index_bytes (of it, for the index).
    """

    def __init__(self, file: BinaryIO):
        """`file` can seek. Raises BitstreamError when it is no archive, is cut off or damaged."""
        self.file = file
        self.bytes = file.seek(0, io.SEEK_END)
        if self.bytes < HEADER.size + FOOTER.size:
            raise BitstreamError(f"{self.bytes} bytes: not an archive, or cut off")
        self.head = self._read(0, HEADER.size)
        magic, version, flags, self.model = HEADER.unpack(self.head)
        if magic != MAGIC:
            raise BitstreamError("not an archive of this program")
        if version != VERSION or flags:
            raise BitstreamError(f"version {version}, flags {flags}: damaged, or written by another version")
        footer = self._read(self.bytes - FOOTER.size, FOOTER.size)
        number, unpacked, self.index_bytes, crc, end = FOOTER.unpack(footer)
        start = self.bytes - FOOTER.size - self.index_bytes
        if end != END:
            raise BitstreamError("cut off: the end of the archive is missing")
        if start < HEADER.size or unpacked > max(MAX_UNPACKED, MAX_RATIO * self.index_bytes) or number > unpacked // 4:
            raise BitstreamError("damaged: the footer does not fit the file")
        packed = self._read(start, self.index_bytes)
        if zlib.crc32(self.head + packed + footer[:20]) != crc:
            raise BitstreamError("damaged: the index's checksum does not fit")
        self.lengths, self.names = parse_index(unpack_index(packed, unpacked), number)
        self.starts = HEADER.size + np.concatenate([[0], np.cumsum(self.lengths + CHECK)])
        if self.starts[-1] != start:
            raise BitstreamError("damaged: index and records have different sizes")

    def __len__(self) -> int:
        return len(self.lengths)

    def payload(self, number: int) -> bytes:
        """The payload of one image. Raises BitstreamError when it is damaged."""
        content = self._read(int(self.starts[number]), int(self.lengths[number]) + CHECK)
        payload, check = content[:-CHECK], content[-CHECK:]
        if checksum(self.head, number, payload) != check:
            raise BitstreamError("damaged: the checksum does not fit")
        return payload

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Names and payloads."""
        return ((name, self.payload(number)) for number, name in enumerate(self.names))

    def _read(self, start: int, size: int) -> bytes:
        self.file.seek(start)
        content = self.file.read(size)
        if len(content) != size:
            raise BitstreamError("the file became shorter while it was read")
        return content


def unpack_index(packed: bytes, size: int) -> bytes:
    """The index, of `size` bytes, in no more memory than that. Raises BitstreamError."""
    unpacker = zlib.decompressobj()
    try:
        index = unpacker.decompress(packed, size + 1)
    except zlib.error as problem:
        raise BitstreamError("damaged: the index cannot be unpacked") from problem
    if len(index) != size or not unpacker.eof or unpacker.unused_data:
        raise BitstreamError("damaged: the index has another size than the footer says")
    return index


def parse_index(index: bytes, number: int) -> tuple[np.ndarray, list[str]]:
    """Lengths (int64) and names of `number` images. Raises BitstreamError."""
    lengths = np.frombuffer(index, ">u2", number).astype(np.int64)
    encoded = index[2 * number :].split(b"\0")
    if len(encoded) != number + 1 or encoded.pop():
        raise BitstreamError("damaged: the index does not name every image")
    try:
        names = [check_name(name.decode()) for name in encoded]
    except UnicodeDecodeError as problem:
        raise BitstreamError("damaged: a name in the index is no text") from problem
    if len(set(names)) != number:
        raise BitstreamError("damaged: two images have the same name")
    return lengths, names
