"""From an encoded image to S x S pixels: what all readers share. Arrays are H x W x 3 uint8 RGB."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from stscq.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff"}
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Told by content, not by name; Pillow knows more, some of which would start other programs."""
MAX_PIXELS = 100_000_000


def decode(
    image: Path | bytes,
    check: Callable[[Image.Image], None] = lambda photo: check_size(photo.width, photo.height),
    prepare: Callable[[Image.Image], Image.Image] = lambda photo: photo,
) -> np.ndarray:
    """A file, or its bytes, upright (EXIF); grey, palette and CMYK become RGB.

    check: raises DataError for a picture that is not taken, before any pixel is decoded. prepare: what is done to it
    before it is turned upright. Raises DataError when it is no image, damaged, truncated, or grey of more than 8 bits.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's, about sizes that `check` refuses
            with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=FORMATS) as photo:
                check(photo)
                if photo.mode.startswith(("I", "F")):  # Pillow would clip them to white
                    raise DataError(f"pixels of more than 8 bits (Pillow's mode {photo.mode}); save it with 8")
                return np.asarray(ImageOps.exif_transpose(prepare(photo)).convert("RGB"))
    except DataError:
        raise
    except UnidentifiedImageError:  # its message would name an object in memory
        raise DataError(f"not a readable image (none of {', '.join(FORMATS)})") from None
    except Exception as problem:  # a damaged file may raise nearly anything
        raise DataError(f"not a readable image ({problem})") from problem


def check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise DataError(f"{width} x {height} pixels; at most {MAX_PIXELS:,} are read")


def face(aligned: np.ndarray, size: int) -> np.ndarray:
    """An aligned face as size x size x 3. Raises DataError when it is not square."""
    height, width = aligned.shape[:2]
    if height != width:
        raise DataError(f"{width} x {height} pixels; expected an aligned square face")
    return resize(aligned, size, size)


def centre(image: np.ndarray, size: int) -> np.ndarray:
    """The shorter side resized to `size`, then the middle of the longer one: size x size x 3.

    Raises DataError when the image is so narrow that it would not fit into the memory.
    """
    height, width = (size * side // min(image.shape[:2]) for side in image.shape[:2])
    check_size(width, height)
    top, left = (height - size) // 2, (width - size) // 2
    return resize(image, width, height)[top : top + size, left : left + size]


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Shrink by averaging areas (no aliases), enlarge by cubic interpolation; an image of that size stays as it is."""
    if image.shape[:2] == (height, width):
        return image
    method = cv2.INTER_AREA if width * height < image.shape[0] * image.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)
