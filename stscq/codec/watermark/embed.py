"""A picture with the mark."""

import numpy as np

from stscq.codec.watermark.golay import BITS, Message, encode, message_of
from stscq.codec.watermark.tiles import FRAME, OFFSETS, STEP, VECTORS, code_bits, in_tiles, luma
from stscq.data.pixels import resize

VERSION = 1
"""Of the mark's format, in every mark."""
ROUNDS = 3
"""What is cut off at black and white, or lost where a picture has another size than FRAME, is added once more."""
PLACES = code_bits(BITS)


def mark(picture: np.ndarray, fingerprint: bytes) -> np.ndarray:
    """S x S x 3 uint8 -> the same, with the mark of the model of this fingerprint (32 bytes)."""
    return embed(picture, message_of(fingerprint, VERSION))


def embed(picture: np.ndarray, message: Message) -> np.ndarray:
    """S x S x 3 uint8 -> the same, with a message. All three colours of a pixel change alike, so that grey stays grey.

    The same picture and message give the same bytes.
    """
    height, width = picture.shape[:2]
    points = OFFSETS + STEP / 2 * (encode(message)[PLACES] < 0)
    marked = picture.astype(np.float64)
    for _ in range(ROUNDS):
        found = in_tiles(resize(luma(marked), FRAME, FRAME))
        missing = np.remainder(points - found + STEP / 2, STEP) - STEP / 2
        marked = np.clip(marked + resize(painted(missing), width, height)[..., None], 0, 255)
    return np.rint(marked).astype(np.uint8)


def painted(amounts: np.ndarray) -> np.ndarray:
    """Amounts of each pattern in each tile (8 x 8 x PATTERNS) as a grey picture, FRAME x FRAME."""
    tiles = np.tensordot(amounts, VECTORS, 1)
    return tiles.swapaxes(1, 2).reshape(FRAME, FRAME)
