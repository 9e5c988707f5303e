"""Bytes as a QR code, and back: in base32, which QR codes take in their alphanumeric mode (5.5 bits a letter).

That is 8.8 bits a byte. Binary codes (8 bits) do not come back: OpenCV makes UTF-8 of all bytes from 128 on and ends at
a 0, and phones show letters of some alphabet. Base45 (8.25 bits) saves a row or two of a code; base32 is in every
language's library.
"""

import base64
import binascii

import cv2
import numpy as np

from stscq.errors import BitstreamError

LONGEST = 2048
"""Bytes: about what the largest code holds at this correction (3,391 letters)."""
QUIET = 4
"""White modules on each side, as the standard asks; OpenCV leaves two."""
MODULE = 8
"""Pixels of a module's side: from fewer than four OpenCV does not read large codes."""


def to_qr(content: bytes) -> np.ndarray:
    """A square picture, h x h uint8, 0 and 255; of what is lost of it 15 % can be restored (level M).

    Raises BitstreamError for more than LONGEST bytes.
    """
    if len(content) > LONGEST:
        raise BitstreamError(f"{len(content):,} bytes; a QR code takes at most {LONGEST:,}")
    settings = cv2.QRCodeEncoder.Params()
    settings.mode = cv2.QRCodeEncoder_MODE_ALPHANUMERIC
    settings.correction_level = cv2.QRCodeEncoder_CORRECT_LEVEL_M
    code = cv2.QRCodeEncoder.create(settings).encode(base64.b32encode(content).rstrip(b"=").decode())
    dark = np.argwhere(code == 0)
    (top, left), (bottom, right) = dark.min(0), dark.max(0) + 1
    return np.pad(code[top:bottom, left:right], QUIET, constant_values=255).repeat(MODULE, 0).repeat(MODULE, 1)


def from_qr(picture: np.ndarray) -> bytes:
    """The inverse, from a picture that shows such a code: H x W (x 3) uint8. Raises BitstreamError when none is found.

    OpenCV has two detectors: the one by ArUco markers reads sound codes that the other misses (some 5 %), the other
    more of small photographed ones.
    """
    detectors = (cv2.QRCodeDetectorAruco(), cv2.QRCodeDetector())
    try:
        text = next(filter(None, (detector.detectAndDecode(picture)[0] for detector in detectors)), "")
    except (cv2.error, UnicodeDecodeError) as problem:  # of what is no code of ours
        raise BitstreamError("no QR code of a compressed face in this picture") from problem
    if not text:
        raise BitstreamError("no QR code found in this picture; take it from nearer, or upload the file itself")
    try:
        return base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError) as problem:
        raise BitstreamError("a QR code, but not of a compressed face") from problem
