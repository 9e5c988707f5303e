"""Write results: to a file that appears whole or not at all, or to standard output. A picture notes its origin, and
says that a machine made it."""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stscq.codec.files.sources import STDIN
from stscq.codec.files.statement import DESCRIPTION, XMP
from stscq.errors import StscqError
from stscq.outputs import write_whole

ORIGIN = "stscq"
"""The key of a PNG's text, and the beginning of a JPEG's comment, that says what it was made from."""
JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
"""Names of files that become a JPEG; all others become a PNG."""
QUALITY = 95
"""Of a JPEG, whose colours are kept in full."""


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


def as_picture(image: np.ndarray, origin: str, name: str = "") -> bytes:
    """S x S x 3 uint8 as a JPEG, if the file's name ends like one, or else as a PNG.

    origin: an `origin_note`, which goes into the file.
    """
    return as_jpeg(image, origin) if Path(name).suffix.lower() in JPEG else as_png(image, origin)


def as_png(image: np.ndarray, origin: str) -> bytes:
    text = PngInfo()
    text.add_text(ORIGIN, origin)
    text.add_text("Description", DESCRIPTION)
    text.add_itxt("XML:com.adobe.xmp", XMP)
    png = io.BytesIO()
    Image.fromarray(image).save(png, "PNG", pnginfo=text)
    return png.getvalue()


def as_jpeg(image: np.ndarray, origin: str) -> bytes:
    jpeg = io.BytesIO()
    settings = {"quality": QUALITY, "subsampling": "4:4:4", "optimize": True}
    Image.fromarray(image).save(jpeg, "JPEG", comment=f"{ORIGIN} {origin}", xmp=XMP.encode(), **settings)
    return jpeg.getvalue()


def origin_of(picture: Path) -> str | None:
    """The origin that `as_picture` noted; None for other files, and where there is no file."""
    try:
        with Image.open(picture, formats=["PNG", "JPEG"]) as image:
            if image.format == "PNG":
                return image.info.get(ORIGIN)
            comment = image.info.get("comment", b"").decode(errors="replace")
            return comment.removeprefix(f"{ORIGIN} ") if comment.startswith(f"{ORIGIN} ") else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for other files
        return None
