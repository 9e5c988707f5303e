"""An operating point of a classic codec: grey or colour, how far the picture is shrunk first, and the quality.

At these rates a classic codec does best on a smaller picture. How large the face was is no part of the file, for ours
neither. Axes: faces of S x S x 3 uint8.
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from stscq.evaluation.peers.codecs import decode, encode

Colour = Literal["grey", "colour"]


class Point(NamedTuple):
    """scale: the side of the face is divided by it before encoding; quality: on the codec's own scale."""

    colour: Colour
    scale: int
    quality: float

    @property
    def name(self) -> str:
        """grey/4/10: short enough for a table's cell."""
        return f"{self.colour}/{self.scale}/{self.quality:g}"


def shrink(face: np.ndarray, scale: int) -> np.ndarray:
    """Mean over the area. Raises ValueError when the side is no multiple of scale."""
    S = face.shape[0]
    if S % scale:
        raise ValueError(f"a side of {S} pixels is no multiple of {scale}")
    return cv2.resize(face, (S // scale, S // scale), interpolation=cv2.INTER_AREA)


def enlarge(picture: np.ndarray, S: int) -> np.ndarray:
    """Cubic, to S x S."""
    return cv2.resize(picture, (S, S), interpolation=cv2.INTER_CUBIC)


def encode_face(codec: str, point: Point, face: np.ndarray) -> bytes:
    """A complete file. Raises PeerError when the codec cannot encode a picture of this size."""
    picture = shrink(face, point.scale)
    if point.colour == "grey":
        picture = np.asarray(Image.fromarray(picture).convert("L"))
    return encode(codec, picture, point.quality)


def decode_face(codec: str, data: bytes, S: int) -> np.ndarray:
    """The inverse, up to what the codec and the shrinking lost: S x S x 3 uint8."""
    return enlarge(decode(codec, data), S)
