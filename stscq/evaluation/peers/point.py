"""An operating point of a classic codec: grey or colour, how large a picture is sent, and the quality.

At these rates a classic codec does best on a smaller picture. How large the face was is no part of the file, for ours
neither. Axes: faces of S x S x 3 uint8; pictures of side x side (grey) or side x side x 3.
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image

from stscq.evaluation.peers.codecs import decode, encode

Colour = Literal["grey", "colour"]


class Point(NamedTuple):
    """side: pixels to which the face is shrunk before encoding; quality: on the codec's own scale.

    grey: the luma alone is sent, and what is judged is grey.
    """

    colour: Colour
    side: int
    quality: float

    @property
    def name(self) -> str:
        """grey/16/10: short enough for a table's cell."""
        return f"{self.colour}/{self.side}/{self.quality:g}"


def shrink(face: np.ndarray, side: int) -> np.ndarray:
    """Mean over the area. Raises ValueError when the face has fewer pixels."""
    if side > face.shape[0]:
        raise ValueError(f"a face of {face.shape[0]} pixels cannot be shrunk to {side}")
    return cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)


def enlarge(picture: np.ndarray, S: int) -> np.ndarray:
    """Cubic, to S x S."""
    return cv2.resize(picture, (S, S), interpolation=cv2.INTER_CUBIC)


def encode_face(codec: str, point: Point, face: np.ndarray) -> bytes:
    """A complete file. Raises PeerError when the codec cannot encode a picture of this size."""
    picture = shrink(face, point.side)
    if point.colour == "grey":
        picture = np.asarray(Image.fromarray(picture).convert("L"))
    return encode(codec, picture, point.quality)


def decode_face(codec: str, data: bytes, S: int) -> np.ndarray:
    """The inverse, up to what the codec and the shrinking lost: S x S x 3 uint8."""
    return enlarge(decode(codec, data), S)
