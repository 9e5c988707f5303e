"""One contract for every classic codec: a picture to the bytes of a complete file, header included, and back.

Axes: pictures of s x s pixels (grey) or s x s x 3 (RGB), uint8. All settings are fixed and single-threaded, so that the
same picture gives the same bytes.
"""

import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, features

from stscq.errors import PeerError


class PeerCodec(NamedTuple):
    """encode(picture, quality) -> a file; decode(file) -> s x s x 3 uint8, grey files too.

    qualities: from the smallest file to the largest, on the codec's own scale. version: of the encoder, for the record.
    Both functions raise what their library raises; `encode` and `decode` below turn that into a PeerError.
    """

    encode: Callable[[np.ndarray, float], bytes]
    decode: Callable[[bytes], np.ndarray]
    qualities: Sequence[float]
    version: Callable[[], str]


def to_file(picture: np.ndarray, kind: str, settings: Mapping[str, Any]) -> bytes:
    """A file of Pillow's format `kind`, without metadata."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **settings)
    return file.getvalue()


def from_file(data: bytes, kind: str) -> np.ndarray:
    """s x s x 3 uint8, of a file of this format and no other."""
    return np.asarray(Image.open(io.BytesIO(data), formats=[kind]).convert("RGB"))


def library(name: str) -> ModuleType:
    """An optional package. Raises PeerError when it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as problem:
        raise PeerError(f"{name} cannot be imported ({problem}); pip install 'stscq[peers]'") from problem


JFIF, COMMENT = 0xE0, 0x64
"""Segments without which a JPEG and a JPEG 2000 codestream are as valid: density of print, OpenJPEG's own name."""
DATA_BEGINS = (0xDA, 0x90)
"""The segments behind the main header of JPEG and of JPEG 2000."""


def without(segment: int, file: bytes) -> bytes:
    """A JPEG or JPEG 2000 codestream without the segments of this kind in its main header."""
    kept, at = [file[:2]], 2
    while file[at + 1] not in DATA_BEGINS:
        length = 2 + int.from_bytes(file[at + 2 : at + 4], "big")
        if file[at + 1] != segment:
            kept.append(file[at : at + length])
        at += length
    return b"".join([*kept, file[at:]])


@cache
def luma_table(quality: int) -> list[int]:
    """The 64 steps that libjpeg quantises luma with."""
    file = to_file(np.zeros((8, 8), np.uint8), "JPEG", {"quality": quality})
    return list(Image.open(io.BytesIO(file), formats=["JPEG"]).quantization[0])  # type: ignore[attr-defined]


def jpeg(picture: np.ndarray, quality: float) -> bytes:
    """With Huffman tables of its own; baseline or progressive, whichever is smaller.

    Colours have the quantisation table of luma, as a second one would cost 69 bytes, and half its width and height.
    """
    common = {"qtables": [luma_table(int(quality))], "optimize": True, "subsampling": "4:2:0"}
    files = (to_file(picture, "JPEG", {**common, "progressive": p}) for p in (False, True))
    return without(JFIF, min(files, key=len))


def webp(picture: np.ndarray, quality: float) -> bytes:
    """Its slowest search. It has no grey mode, and codes a grey picture's empty colours in a few bits."""
    return to_file(picture, "WEBP", {"quality": int(quality), "method": 6})


def avif(picture: np.ndarray, quality: float) -> bytes:
    """libaom at speed 6: slower ones take up to ten times as long for files that are no smaller."""
    subsampling = "4:0:0" if picture.ndim == 2 else "4:2:0"
    settings = {"quality": int(quality), "speed": 6, "subsampling": subsampling, "max_threads": 1}
    return to_file(picture, "AVIF", settings)


def jpeg2000(picture: np.ndarray, decibels: float) -> bytes:
    """A bare codestream with the 9-7 wavelet, in three resolutions, or two of small pictures. Its quality is the PSNR
    that OpenJPEG aims at: its other measure, a size, counts the comment that is taken out here."""
    settings = {"no_jp2": True, "irreversible": True, "mct": int(picture.ndim == 3)}
    levels = {"num_resolutions": 3 if min(picture.shape[:2]) > SMALL else 2}
    quality = {"quality_mode": "dB", "quality_layers": [decibels]}
    return without(COMMENT, to_file(picture, "JPEG2000", {**settings, **levels, **quality}))


SMALL = 32
"""Pixels of a side up to which a third resolution costs JPEG 2000 more bytes than it saves."""


def heic(picture: np.ndarray, quality: float) -> bytes:
    """x265 at libheif's preset (slow), on one thread."""
    library("pillow_heif").register_heif_opener()
    return to_file(picture, "HEIF", {"quality": int(quality), "enc_params": {"x265:pools": "none"}})


def heic_decoded(data: bytes) -> np.ndarray:
    library("pillow_heif").register_heif_opener()
    return from_file(data, "HEIF")


def jpegxl(picture: np.ndarray, distance: float) -> bytes:
    """A bare codestream at effort 9. Its quality is libjxl's Butteraugli distance: less is better, 25 is the worst.

    A grey picture goes as one of three equal colours: to say that there is one would take three bytes more.
    """
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    found: bytes = library("imagecodecs").jpegxl_encode(
        picture, distance=float(distance), effort=9, usecontainer=False, numthreads=1
    )
    return found


def jpegxl_decoded(data: bytes) -> np.ndarray:
    return np.asarray(library("imagecodecs").jpegxl_decode(data, numthreads=1))


CODECS: dict[str, PeerCodec] = {
    "jpeg": PeerCodec(
        jpeg,
        partial(from_file, kind="JPEG"),
        (1, 5, 10, 15, 20, 30, 45, 60, 75),
        lambda: f"libjpeg-turbo {features.version('libjpeg_turbo')}",
    ),
    "jpeg2000": PeerCodec(
        jpeg2000,
        partial(from_file, kind="JPEG2000"),
        (16, 18, 20, 22, 24, 26, 28, 31, 34),
        lambda: f"OpenJPEG {features.version('jpg_2000')}",
    ),
    "webp": PeerCodec(
        webp,
        partial(from_file, kind="WEBP"),
        (0, 1, 3, 6, 10, 18, 30, 45, 60, 75),
        lambda: f"libwebp {features.version('webp')}",
    ),
    "avif": PeerCodec(
        avif,
        partial(from_file, kind="AVIF"),
        (0, 8, 16, 24, 32, 40, 50),
        lambda: f"libavif {features.version('avif')}",
    ),
    "jpegxl": PeerCodec(
        jpegxl,
        jpegxl_decoded,
        (25, 18, 13, 10, 7.5, 5.5, 4, 2.5, 1.5),
        lambda: str(library("imagecodecs").jpegxl_version()),
    ),
    "heic": PeerCodec(
        heic,
        heic_decoded,
        (0, 8, 16, 24, 32, 40, 50),
        lambda: f"libheif {library('pillow_heif').libheif_version()}",
    ),
}


def codec_of(name: str) -> PeerCodec:
    """Raises PeerError for a name that is none of CODECS."""
    if name not in CODECS:
        raise PeerError(f"peers: {name!r} is none of {', '.join(CODECS)}; correct it in params.yaml")
    return CODECS[name]


def encode(name: str, picture: np.ndarray, quality: float) -> bytes:
    """Raises PeerError, naming codec and size, when the codec cannot encode this picture."""
    codec = codec_of(name)
    try:
        return codec.encode(picture, quality)
    except PeerError:
        raise
    except Exception as problem:  # every library has errors of its own
        size = " x ".join(map(str, picture.shape))
        raise PeerError(f"{name} cannot encode {size} at quality {quality:g}: {one_line(problem)}") from problem


def decode(name: str, data: bytes) -> np.ndarray:
    """s x s x 3 uint8. Raises PeerError when these bytes are no file of the codec."""
    codec = codec_of(name)
    try:
        return codec.decode(data)
    except PeerError:
        raise
    except Exception as problem:
        raise PeerError(f"{name} cannot decode {len(data)} bytes: {one_line(problem)}") from problem


def one_line(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__
