"""One compressed image: a header of 8 bytes, then the payload. Byte by byte in docs/bitstream.md.

0     SINGLE: kind of file and version
1     flags, all 0 in this version
2-5   the first four bytes of the model's fingerprint
6-7   CRC-16 of bytes 0 to 5 and the payload, most significant byte first
8-    the payload
"""

import binascii
from typing import NamedTuple

from stscq.errors import BitstreamError, WrongModelError

SINGLE = 0xA1
"""High half: an image of ours; low half: version 1."""
HEADER = 8
SHORT = 4
"""Bytes of the fingerprint in a file."""
MOST = 1 << 16
"""No payload is longer: 256 tokens of 8192 entries need 416 bytes."""


class Single(NamedTuple):
    """What a file says without its model: 4 bytes of a fingerprint, and a payload."""

    model: bytes
    payload: bytes


def crc16(*parts: bytes) -> int:
    """CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xFFFF): notices a change of one bit, or of up to 16 in a row."""
    value = 0xFFFF
    for part in parts:
        value = binascii.crc_hqx(part, value)
    return value


def write(model: bytes, payload: bytes) -> bytes:
    """A file of one image. model: the fingerprint's first SHORT bytes."""
    head = bytes([SINGLE, 0]) + model
    return head + crc16(head, payload).to_bytes(2, "big") + payload


def read(file: bytes) -> Single:
    """The inverse of `write`. Raises BitstreamError when these are no such bytes, or damaged ones."""
    if len(file) < HEADER:
        raise BitstreamError(f"{len(file)} bytes; even the header of a compressed image has {HEADER}")
    if file[0] != SINGLE:
        raise BitstreamError("not a compressed image of this program, or of a later version of it")
    if file[1]:
        raise BitstreamError(f"flags {file[1]:#04x} are unknown: damaged, or written by a later version")
    if len(file) > HEADER + MOST:
        raise BitstreamError(f"{len(file)} bytes; a compressed image has at most {HEADER + MOST}")
    head, payload = file[:6], file[HEADER:]
    if crc16(head, payload) != int.from_bytes(file[6:HEADER], "big"):
        raise BitstreamError("damaged: the checksum does not fit")
    return Single(file[2:6], payload)


def check_model(model: bytes, fingerprint: bytes) -> None:
    """Raises WrongModelError unless `model`, from a file, begins the fingerprint of the bundle at hand."""
    if not fingerprint.startswith(model):
        raise WrongModelError(
            f"written with model {model.hex()}; this bundle is {fingerprint[: len(model)].hex()}. "
            "Give --model the bundle that wrote it"
        )
