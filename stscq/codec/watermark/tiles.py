"""Where the mark lies: 8 x 8 tiles of the picture's luma, at FRAME x FRAME pixels whatever size the picture has.

Each tile has two patterns, sums of its cosines (its DCT). The projection of the tile on a pattern, in grey levels, is
rounded to the nearest point of a lattice with STEP between points for a code bit of 0, and to the nearest point midway
between those for 1 (quantisation index modulation; Chen and Wornell, 2001). Every lattice has an offset of its own,
drawn from a fixed key; so the picture itself does not disturb the mark, and without the mark phases are even.

Axes: tiles 8 x 8 of them, rows first; 2 patterns.
"""

import hashlib

import cv2
import numpy as np

FRAME, TILE = 64, 8
SIDE = FRAME // TILE
"""Tiles of a side."""
STEP = 32.0
"""Grey levels between the points of a lattice, of a pattern of length 1: the strength of the mark."""
COSINES = (((1, 1),), ((1, 2), (2, 1)))
"""Of each pattern: (vertical, horizontal) frequency, in half periods a tile. Low enough to outlive JPEG and half the
size, high enough that faces have little there, so that another brightness moves a projection by less than STEP."""
KEY = b"stscq watermark 1"
LUMA = np.array([0.299, 0.587, 0.114])
"""As JPEG has it; the weights sum to 1, so that the same change of red, green and blue is a change of luma."""
PATTERNS = len(COSINES)


def cosine(frequency: int) -> np.ndarray:
    """A row of the orthonormal DCT of a tile's side; frequency > 0."""
    return np.sqrt(2 / TILE) * np.cos(np.pi * frequency * (np.arange(TILE) + 0.5) / TILE)


def patterns() -> np.ndarray:
    """PATTERNS x 8 x 8, orthonormal."""
    found = [sum(np.outer(cosine(u), cosine(v)) for u, v in parts) / np.sqrt(len(parts)) for parts in COSINES]
    return np.stack(found)


def drawn(label: bytes) -> np.ndarray:
    """Numbers in [0, 1), one a projection, from the key: 8 x 8 x PATTERNS."""
    shape = (SIDE, SIDE, PATTERNS)
    content = hashlib.shake_256(KEY + label).digest(4 * int(np.prod(shape)))
    return (np.frombuffer(content, ">u4") / 2**32).reshape(shape)


def code_bits(bits: int) -> np.ndarray:
    """Which of so many code bits a projection carries: each as often as the others (give or take one), scattered."""
    order = np.argsort(drawn(b", places"), axis=None, kind="stable")
    found = np.empty(order.size, np.int64)
    found[order] = np.arange(order.size) % bits
    return found.reshape(SIDE, SIDE, PATTERNS)


VECTORS = patterns()
OFFSETS = STEP * drawn(b", offsets")


def luma(picture: np.ndarray) -> np.ndarray:
    """H x W x 3 uint8 RGB, or floats of that range -> H x W."""
    return np.asarray(picture @ LUMA)


def in_tiles(grey: np.ndarray) -> np.ndarray:
    """The projections of all tiles of a frame (luma, FRAME x FRAME): 8 x 8 x PATTERNS."""
    tiles = grey.reshape(SIDE, TILE, SIDE, TILE).swapaxes(1, 2).reshape(SIDE, SIDE, TILE * TILE)
    return tiles @ VECTORS.reshape(PATTERNS, TILE * TILE).T


def projections(grey: np.ndarray) -> np.ndarray:
    """The same, float32, wherever a tile may lie in a picture (luma, H x W): (H - 7) x (W - 7) x PATTERNS."""
    height, width = grey.shape
    found = [cv2.filter2D(grey, cv2.CV_32F, vector, anchor=(0, 0)) for vector in VECTORS]
    return np.stack(found, axis=-1)[: height - TILE + 1, : width - TILE + 1]
