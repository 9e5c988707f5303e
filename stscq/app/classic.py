"""What a classic codec makes of a face in at most so many bytes; where none makes so few, the smallest file there is.

At the sizes of our files no classic codec may have a file at all: a header alone takes more. Faces are S x S x 3 uint8.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np

from stscq.errors import PeerError
from stscq.evaluation.judging import cosine
from stscq.evaluation.peers.calibrate import candidates
from stscq.evaluation.peers.codecs import CODECS
from stscq.evaluation.peers.point import Point, decode_face, encode_face
from stscq.recognition.base import Recogniser


class ClassicFile(NamedTuple):
    """A complete file of a codec, header included."""

    codec: str
    point: Point
    file: bytes


class Classic(NamedTuple):
    """The best of the classic files. picture: what it decodes to, S x S x 3; cosine: of the judge, with the face."""

    chosen: ClassicFile
    picture: np.ndarray
    cosine: float


def best_classic(face: np.ndarray, most: int, judge: Recogniser) -> Classic:
    """Of all codecs that are installed, in grey and in colour, at all sizes of the picture and all qualities.

    Taken is what the judge finds most like the face, of the files of at most MOST bytes; where there is none, of the
    smallest ones.
    """
    tried = [one for codec in CODECS for one in files_up_to(codec, face, most)]
    most = max(most, min(len(one.file) for one in tried))
    fitting = [one for one in tried if len(one.file) <= most]
    pictures = np.stack([decode_face(one.codec, one.file, face.shape[0]) for one in fitting])
    embeddings = judge.embed(np.concatenate([face[None], pictures]))
    cosines = cosine(np.broadcast_to(embeddings[0], embeddings[1:].shape), embeddings[1:])
    best = int(cosines.argmax())
    return Classic(fitting[best], pictures[best], float(cosines[best]))


def files_up_to(codec: str, face: np.ndarray, most: int) -> Iterator[ClassicFile]:
    """The files of at most MOST bytes, and of each colour and size of the picture the first that is larger.

    None of a codec that is not installed.
    """
    for _, line in groupby(candidates(codec, face[None]), key=lambda point: (point.colour, point.side)):
        for point in line:  # from the smallest file on
            try:
                file = encode_face(codec, point, face)
            except PeerError:
                break
            yield ClassicFile(codec, point, file)
            if len(file) > most:
                break
