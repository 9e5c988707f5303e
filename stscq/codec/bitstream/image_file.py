"""One compressed image: a header of 5 bytes, then the payload. Byte by byte in docs/bitstream.md.

0     SINGLE: kind of file and version
1-2   the first two bytes of the model's fingerprint
3-4   CRC-16 of the whole fingerprint, bytes 0 to 2 and the payload, most significant byte first
5-    the payload

The fingerprint is not in the file, but part of its checksum: of 65,536 pairs of models whose fingerprints begin alike,
one takes the other's files for its own.
"""

import binascii

from stscq.errors import BitstreamError, WrongModelError

SINGLE = 0xA2
"""High half: an image of ours; low half: version 2."""
HEADER = 5
SHORT = 2
"""Bytes of the fingerprint in a file."""
MAX_PAYLOAD = (1 << 16) - 1
"""Bytes of the longest payload: an archive keeps its length in 16 bits. 256 tokens of 8192 entries need 416."""


def crc16(*parts: bytes) -> int:
    """CRC-16/CCITT-FALSE (polynomial 0x1021, start 0xFFFF): notices a change of one bit, or of up to 16 in a row of
    the bytes it is given."""
    value = 0xFFFF
    for part in parts:
        value = binascii.crc_hqx(part, value)
    return value


def write(fingerprint: bytes, payload: bytes) -> bytes:
    """A file of one image. fingerprint: 32 bytes, of the model."""
    head = bytes([SINGLE]) + fingerprint[:SHORT]
    return head + crc16(fingerprint, head, payload).to_bytes(2, "big") + payload


def model_of(file: bytes) -> bytes:
    """The first SHORT bytes of the fingerprint of the model that wrote a file: all that the file says of it.

    Raises BitstreamError when this is no file of one image.
    """
    if len(file) < HEADER:
        raise BitstreamError(f"{len(file)} bytes; even the header of a compressed image has {HEADER}")
    if file[0] != SINGLE:
        raise BitstreamError("not a compressed image of this program, or of another version of it")
    if len(file) > HEADER + MAX_PAYLOAD:
        raise BitstreamError(f"{len(file)} bytes; a compressed image has at most {HEADER + MAX_PAYLOAD}")
    return file[1 : 1 + SHORT]


def read(file: bytes, fingerprint: bytes) -> bytes:
    """The payload: the inverse of `write`. Raises WrongModelError, or BitstreamError when the file is damaged."""
    check_model(model_of(file), fingerprint)
    payload = file[HEADER:]
    if write(fingerprint, payload) != file:
        raise BitstreamError("damaged: the checksum does not fit")
    return payload


def check_model(model: bytes, fingerprint: bytes) -> None:
    """Raises WrongModelError unless `model`, from a file, begins the fingerprint of the bundle at hand."""
    if not fingerprint.startswith(model):
        raise WrongModelError(
            f"written with model {model.hex()}; this bundle is {fingerprint[: len(model)].hex()}. "
            "Give --model the bundle that wrote it"
        )
