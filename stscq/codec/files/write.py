"""Write results: to a file that appears whole or not at all, or to standard output. A picture notes its origin."""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stscq.codec.files.sources import STDIN
from stscq.errors import StscqError
from stscq.outputs import write_whole

ORIGIN = "stscq"
"""The key of a PNG's text that says what it was made from."""


def write_bytes(content: bytes, out: str, force: bool) -> None:
    """To a file, or to standard output (`-`). Raises StscqError when it cannot be written.

    force: what is there may be replaced.
    """
    if out == STDIN:
        write_stdout(content)
    else:
        write_whole(content, Path(out), force)


def write_stdout(content: bytes) -> None:
    """Raises StscqError when nobody reads any more, or when it cannot take more."""
    if sys.stdout is None:
        raise StscqError("standard output is closed; name a file for --out")
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as problem:
        sys.stdout = None  # type: ignore[assignment]  # Python would try again at its end, and complain
        if isinstance(problem, BrokenPipeError):
            raise StscqError("standard output was closed by what reads it") from problem
        raise StscqError(f"standard output: {problem.strerror}") from problem


def as_png(image: np.ndarray, origin: str) -> bytes:
    """S x S x 3 uint8 as a PNG. origin: `CompressedFile.origin`, which goes into its text."""
    text = PngInfo()
    text.add_text(ORIGIN, origin)
    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG", pnginfo=text)
    return png.getvalue()


def origin_of(picture: Path) -> str | None:
    """The origin that `as_png` noted; None for other files, and where there is no file."""
    try:
        with Image.open(picture, formats=["PNG"]) as image:
            return image.info.get(ORIGIN)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for other files
        return None
