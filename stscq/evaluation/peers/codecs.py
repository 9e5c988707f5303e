"""One contract for every classic codec: a picture to the bytes of a complete file, header included, and back.

Axes: pictures of s x s pixels (grey) or s x s x 3 (RGB), uint8. All settings are fixed and single-threaded, so that the
same picture gives the same bytes.
"""

import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
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


def jpeg(picture: np.ndarray, quality: float) -> bytes:
    """With Huffman tables of its own; baseline or progressive, whichever is smaller."""
    common = {"quality": int(quality), "optimize": True}
    return min((to_file(picture, "JPEG", {**common, "progressive": p}) for p in (False, True)), key=len)


def webp(picture: np.ndarray, quality: float) -> bytes:
    """Its slowest search. It has no grey mode, and codes a grey picture's empty colours in a few bits."""
    return to_file(picture, "WEBP", {"quality": int(quality), "method": 6})


def avif(picture: np.ndarray, quality: float) -> bytes:
    """libaom at speed 4: slower ones gain little for their time."""
    subsampling = "4:0:0" if picture.ndim == 2 else "4:2:0"
    settings = {"quality": int(quality), "speed": 4, "subsampling": subsampling, "max_threads": 1}
    return to_file(picture, "AVIF", settings)


def jpeg2000(picture: np.ndarray, ratio: float) -> bytes:
    """A bare codestream with the 9-7 wavelet on three levels. Its quality is the ratio to the raw size: less is better.

    OpenJPEG's own comment stays in the file; of 64 x 64 pixels, headers are 150 bytes.
    """
    settings = {"no_jp2": True, "irreversible": True, "mct": int(picture.ndim == 3), "num_resolutions": 3}
    return to_file(picture, "JPEG2000", {**settings, "quality_mode": "rates", "quality_layers": [ratio]})


def heic(picture: np.ndarray, quality: float) -> bytes:
    """x265 at libheif's preset (slow), on one thread."""
    library("pillow_heif").register_heif_opener()
    return to_file(picture, "HEIF", {"quality": int(quality), "enc_params": {"x265:pools": "none"}})


def heic_decoded(data: bytes) -> np.ndarray:
    library("pillow_heif").register_heif_opener()
    return from_file(data, "HEIF")


def jpegxl(picture: np.ndarray, distance: float) -> bytes:
    """A bare codestream at effort 9. Its quality is libjxl's Butteraugli distance: less is better, 25 is the worst."""
    found: bytes = library("imagecodecs").jpegxl_encode(
        picture, distance=float(distance), effort=9, usecontainer=False, numthreads=1
    )
    return found


def jpegxl_decoded(data: bytes) -> np.ndarray:
    picture = np.asarray(library("imagecodecs").jpegxl_decode(data, numthreads=1))
    return np.repeat(picture[:, :, None], 3, axis=2) if picture.ndim == 2 else picture


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
        (400, 200, 100, 60, 40, 25, 15, 8),
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
