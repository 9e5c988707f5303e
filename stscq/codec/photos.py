"""From a photo of any kind to the square face that a model takes. Arrays are H x W x 3 uint8 RGB.

No torch here: worker processes start quickly.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from stscq.data.pixels import decode, face
from stscq.errors import DataError

MOST_PIXELS = 50_000_000
"""Of a JPEG, which is made smaller while it is decoded; other kinds take more memory, and may have MOST_OTHERS."""
MOST_OTHERS = 36_000_000
LARGE = 2048
"""Photos of more than twice this are halved, and so on: a face that fills a twentieth of them still is sharp."""


def read_face(photo: Path | bytes, size: int, aligned: bool) -> np.ndarray:
    """The face in a photo (a file, or its bytes), size x size x 3.

    aligned: the photo is the face itself, square; else the largest frontal face is detected, turned upright and cut
    out. Raises DataError when it is no photo, is damaged or too large, or shows no face.
    """
    image = read_photo(photo)
    if aligned:
        return face(image, size)
    from stscq.data.align import detect_and_crop  # dlib's models are not needed for aligned faces

    return detect_and_crop(image, size)


def read_photo(photo: Path | bytes) -> np.ndarray:
    """Upright (EXIF), what is transparent on white; grey, palette and CMYK become RGB. Raises DataError."""
    return decode(photo, check, lambda image: on_white(smaller(image)))


def check(image: Image.Image) -> None:
    """Before any pixel is decoded."""
    most = MOST_PIXELS if image.format in ("JPEG", "MPO") else MOST_OTHERS
    if image.width * image.height > most:
        raise DataError(f"{image.width} x {image.height} pixels; at most {most:,} are read: shrink it")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG with a preview behind the photo
        raise DataError(f"{frames} frames or pages; save one of them as a picture")


def smaller(image: Image.Image) -> Image.Image:
    """Photos beyond twice LARGE, halved until they are not; JPEG while it is decoded."""
    image.draft(None, (LARGE, LARGE))
    factor = max(image.size) // LARGE
    return image.reduce(factor) if factor > 1 and image.mode != "P" else image


def on_white(image: Image.Image) -> Image.Image:
    if "transparency" not in image.info and "A" not in image.getbands():
        return image
    exif = image.getexif()
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    white.getexif().update(exif)
    return white
