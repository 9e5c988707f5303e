"""From a photo to all that the page shows, and from a compressed file or its QR code back to the face. No Gradio here.

Pictures are H x W x 3 uint8.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from stscq.app.classic import Classic, best_classic
from stscq.app.qr import from_qr
from stscq.codec.api import Codec
from stscq.codec.bitstream import image_file
from stscq.codec.bundle.read import Bundle
from stscq.data.photos import read_face, read_photo
from stscq.errors import BitstreamError, BundleError
from stscq.evaluation.judging import cosine
from stscq.recognition.base import Recogniser


class Shown(NamedTuple):
    """face and picture: as found and after decompression, S x S x 3; file: as `stscq compress` writes it; cosine: of
    the judge, between the two."""

    face: np.ndarray
    file: bytes
    picture: np.ndarray
    cosine: float
    classic: Classic


def show(photo: bytes, codec: Codec, judge: Recogniser) -> Shown:
    """The largest face in a photo (a file of any format that `stscq compress` reads), compressed and decompressed.

    Raises DataError when it is no photo, is damaged or too large, or shows no face.
    """
    face = read_face(photo, codec.bundle.sizes.image_size, aligned=False)
    (file,) = codec.encode(face[None])
    (picture,) = codec.decode([file])
    embeddings = judge.embed(np.stack([face, picture]))
    similarity = float(cosine(embeddings[:1], embeddings[1:])[0])
    return Shown(face, file, picture, similarity, best_classic(face, len(file), judge))


class Opened(NamedTuple):
    """file: the compressed file; picture: S x S x 3, by the model `bundle` that wrote it."""

    file: bytes
    picture: np.ndarray
    bundle: Bundle


def reopen(content: bytes, bundles: Sequence[Bundle], codec_of: Callable[[Bundle], Codec]) -> Opened:
    """The face in a file of one image, or in a picture of its QR code, by the one of these models that wrote it.

    Raises DataError or BitstreamError when it is neither, BundleError when none of the models wrote it.
    """
    file = content if content[:1] == bytes([image_file.SINGLE]) else from_qr(read_photo(content))
    model = image_file.model_of(file)
    alike = [bundle for bundle in bundles if bundle.fingerprint.startswith(model)]
    if not alike:
        raise BundleError(f"none of the models at hand wrote it: its model's fingerprint begins with {model.hex()}")
    for bundle in alike[:-1]:
        with suppress(BitstreamError):
            return Opened(file, codec_of(bundle).decode([file])[0], bundle)
    return Opened(file, codec_of(alike[-1]).decode([file])[0], alike[-1])


def enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    """Every pixel as a square, by the largest whole factor that keeps the picture within SIDE; at least as it is."""
    factor = max(1, side // picture.shape[0])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)
