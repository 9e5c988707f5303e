"""Files that appear whole or not at all."""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stscq.codec.sources import STDIN
from stscq.errors import StscqError

ORIGIN = "stscq"


def write_bytes(content: bytes, out: str) -> None:
    """To a file, or to standard output (`-`). Raises StscqError when it cannot be written."""
    if out == STDIN:
        write_stdout(content)
        return
    place = Path(out)
    partial = place.with_name(f".partial-{place.name}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(place)
    except OSError as problem:
        raise StscqError(f"{out}: cannot be written ({problem.strerror})") from problem


def write_stdout(content: bytes) -> None:
    """Raises StscqError when nobody reads any more."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError as problem:
        sys.stdout = None  # type: ignore[assignment]  # Python would try again at its end, and complain
        raise StscqError("standard output was closed by what reads it") from problem


def as_png(image: np.ndarray, origin: str) -> bytes:
    """S x S x 3 uint8 as a PNG; its text `stscq` says what it was made from."""
    text = PngInfo()
    text.add_text(ORIGIN, origin)
    found = io.BytesIO()
    Image.fromarray(image).save(found, "PNG", pnginfo=text)
    return found.getvalue()


def origin_of(picture: Path) -> str | None:
    """What `as_png` was told; None for other files, and where there is none."""
    try:
        with Image.open(picture, formats=["PNG"]) as image:
            return image.info.get(ORIGIN)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for other files
        return None
