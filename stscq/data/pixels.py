"""From an encoded image to S x S pixels: what all readers share. Arrays are H x W x 3 uint8 RGB."""

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from stscq.errors import DataError

SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff", ".gif", ".avif",
    ".heic", ".heif", ".jp2", ".j2k",
}  # fmt: skip
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "GIF", "AVIF", "JPEG2000")
"""Told by content, not by name; Pillow knows more, some of which would start other programs."""
HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Brands of the files that the plugin pillow-heif reads: what phones write."""
MAX_PIXELS = 100_000_000


def decode(
    image: Path | bytes,
    prepare: Callable[[Image.Image], Image.Image] | None = None,
    explain: Callable[[Exception], str] = "not a readable image ({})".format,
) -> np.ndarray:
    """A file, or its bytes, upright (EXIF), in sRGB; grey, palette and CMYK become RGB.

    prepare: changes or refuses (DataError) what was opened, before its pixels are decoded; if None, more than
    MAX_PIXELS and grey of more than 8 bits are refused. explain: from what Pillow raised to the message.
    Raises DataError when it is no image, damaged, truncated or refused.
    """
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image, formats=formats(image)) as opened:
            prepared = (prepare or check)(opened)
            prepared.load()
            return np.asarray(in_srgb(upright(prepared)))
    except DataError:
        raise
    except UnidentifiedImageError:  # its message would name an object in memory
        raise DataError("not a readable image") from None
    except Exception as problem:  # a damaged file may raise nearly anything
        raise DataError(explain(problem)) from problem


def formats(image: Path | bytes) -> tuple[str, ...]:
    """What Pillow may take it for; a HEIF by its plugin. Raises DataError for a HEIF where the plugin is missing."""
    if isinstance(image, bytes):
        head = image[:12]
    else:
        with image.open("rb") as file:
            head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:] not in HEIF:
        return FORMATS
    register_heif()
    return ("AVIF", "HEIF")  # either may begin with the brand of both


@cache
def register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener  # needed for such pictures alone
    except ImportError:
        raise DataError("a HEIF (.heic) is read by the package pillow-heif: pip install pillow-heif") from None
    register_heif_opener()


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says, if that can be read; its pixels are loaded already, so nothing else can fail."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # malformed EXIF raises nearly anything, and is no reason to refuse the picture
        return image


def in_srgb(image: Image.Image) -> Image.Image:
    """As RGB. Colours of another profile are converted; a profile that is damaged, or sRGB itself, changes nothing."""
    embedded = image.info.get("icc_profile")
    if not embedded:
        return image.convert("RGB")
    if image.mode not in ("RGB", "CMYK", "L"):
        image = image.convert("RGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
        if "sRGB" in ImageCms.getProfileDescription(profile):
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, profile, srgb(), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):  # not a profile, or of another kind of colour than the picture
        return image.convert("RGB")
    assert converted is not None  # only for inPlace
    return converted


@cache
def srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.createProfile("sRGB")  # type: ignore[return-value]


def check(image: Image.Image) -> Image.Image:
    """The image, unless it has too many pixels or too many bits a pixel."""
    check_size(image.width, image.height)
    check_depth(image)
    return image


def check_depth(image: Image.Image) -> None:
    if image.mode.startswith(("I", "F")):  # Pillow would clip them to white
        raise DataError(f"pixels of more than 8 bits (Pillow's mode {image.mode}); save it with 8")


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
    way = cv2.INTER_AREA if width * height < image.shape[0] * image.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=way)
