"""From a photo of any kind to the square face that a model takes. Arrays are H x W x 3 uint8 RGB.

No torch here: worker processes start quickly.
"""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from stscq.data.pixels import check_depth, decode, face, in_srgb, upright
from stscq.errors import DataError

MAX_PIXELS = 36_000_000
MAX_JPEG_PIXELS = 110_000_000
"""More, because a JPEG is made smaller while it is decoded, and takes less memory."""
LARGE = 2048
"""Pixels that the longer side keeps at least when a photo is shrunk: a face in a twentieth of it is still sharp."""


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow's, about sizes that are refused here
        return decode(photo, prepare, explain)


def prepare(image: Image.Image) -> Image.Image:
    """The photo as large as needed, on white. Raises DataError for what is refused, before any pixel is decoded."""
    most = MAX_JPEG_PIXELS if image.format in ("JPEG", "MPO") else MAX_PIXELS
    if image.width * image.height > most:
        raise DataError(f"{image.width} x {image.height} pixels; at most {most:,} are read: shrink it")
    check_depth(image)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG with a preview behind the photo
        raise DataError(f"{frames} frames or pages; save one of them as a picture")
    return on_white(smaller(image))


def explain(problem: Exception) -> str:
    """The message for what Pillow raised."""
    if isinstance(problem, Image.DecompressionBombError):
        return f"more than {MAX_JPEG_PIXELS:,} pixels; shrink it"
    return (isinstance(problem, OSError) and problem.strerror) or f"damaged ({problem})"


def smaller(image: Image.Image) -> Image.Image:
    """The photo, shrunk to less than twice LARGE by a whole factor; a JPEG also while it is decoded."""
    image.draft(None, (LARGE, LARGE))
    factor = max(image.size) // LARGE
    return image.reduce(factor) if factor > 1 and image.mode != "P" else image


def on_white(image: Image.Image) -> Image.Image:
    """Transparent pixels become white, in an upright picture in sRGB."""
    if "transparency" not in image.info and "A" not in image.getbands():
        return image
    image.load()  # before EXIF is asked for: a damaged picture is told from malformed EXIF
    image = in_srgb_with_alpha(upright(image))
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white


def in_srgb_with_alpha(image: Image.Image) -> Image.Image:
    """RGBA: colours in sRGB, transparency as it was."""
    alpha = image.convert("RGBA").getchannel("A")
    colours = in_srgb(image)
    colours.putalpha(alpha)
    return colours
