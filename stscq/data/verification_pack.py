"""InsightFace verification packs (lfw.bin, cfp_fp.bin, agedb_30.bin, cplfw.bin, calfw.bin).

Such a file is a pickle of (list of encoded images, list of bools): images 2p and 2p + 1 are pair p. A pickle can run
any code, so this reader knows lists, tuples, bytes, strings, bools, ints and NumPy's uint8, int64 and bool arrays, and
nothing else.
"""

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stscq.data.pairs import consecutive_folds, pair_table
from stscq.data.pixels import decode, face
from stscq.data.store import Row
from stscq.errors import DataError


class VerificationPack(NamedTuple):
    """images: 2P encoded images; same: P bools, whether images 2p and 2p + 1 show the same person."""

    images: list[bytes]
    same: np.ndarray


class PackImage(NamedTuple):
    """One image of a pack, for stscq.data.convert.

    Who it shows is not said, so a pair stands for its people: what is resampled by identity is resampled by pair.
    """

    name: str
    number: int
    encoded: bytes

    @property
    def row(self) -> Row:
        return Row(f"{self.number:06d}", f"pair {self.number // 2:06d}", f"{self.name}, image {self.number}")

    def image(self, size: int) -> np.ndarray:
        return face(decode(self.encoded), size)


class PlainType:
    """Stands in for numpy.dtype: takes a few plain types by name, and only a byte order from the file."""

    def __init__(self, name: str | bytes, *unused: Any):
        text = name.decode("ascii", "replace") if isinstance(name, bytes) else str(name)
        if text not in ("u1", "|u1", "uint8", "b1", "|b1", "bool", "i8", "<i8", "int64"):
            raise DataError(f"arrays of type {text!r} do not belong there")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: Any) -> None:
        pass


class PlainArray:
    """Stands in for numpy.ndarray: shape, type and bytes, checked against each other."""

    def __init__(self, *unused: Any):
        self.array = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        try:
            _, shape, kind, _, data = state
            self.array = np.frombuffer(data.encode("latin-1") if isinstance(data, str) else data, kind.dtype)
            self.array = self.array.reshape(shape)
        except (TypeError, ValueError, AttributeError, UnicodeEncodeError) as problem:
            raise DataError(f"a damaged array ({problem})") from problem


def plain_from_buffer(data: Any, kind: Any, shape: Any, *unused: Any) -> PlainArray:
    """Stands in for numpy.core.numeric._frombuffer, with which pickle protocol 5 writes arrays."""
    array = PlainArray()
    array.__setstate__((1, shape, kind, False, data))
    return array


def plain_scalar(kind: Any, data: Any) -> bool | int:
    """Stands in for numpy.core.multiarray.scalar."""
    array = PlainArray()
    array.__setstate__((1, (), kind, False, data))
    return array.array.item()  # type: ignore[no-any-return]


def plain_bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Stands in for _codecs.encode, with which old pickle protocols write bytes."""
    if not isinstance(text, str) or encoding != "latin1":
        raise DataError("text encoded in a way that no bytes are")
    return text.encode("latin-1")


CORES = ("numpy.core", "numpy._core")
ALLOWED: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): plain_bytes,
    ("builtins", "bytes"): plain_bytes,
    ("__builtin__", "bytes"): plain_bytes,
    ("numpy", "dtype"): PlainType,
    ("numpy", "ndarray"): PlainArray,
    **{(f"{core}.multiarray", "_reconstruct"): PlainArray for core in CORES},
    **{(f"{core}.multiarray", "scalar"): plain_scalar for core in CORES},
    **{(f"{core}.numeric", "_frombuffer"): plain_from_buffer for core in CORES},
}


class PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise DataError(f"it asks for {module}.{name}, which no verification pack needs; not opened") from None


def check_memo(packed: bytes) -> None:
    """Raises DataError for a place in pickle's memo that so few bytes cannot have filled: the unpickler would make room
    for all places before it."""
    for operation, place, _ in pickletools.genops(packed):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(place, int) and place > len(packed):
            raise DataError(f"it keeps something in place {place}; not opened")


def read_pack(path: Path) -> VerificationPack:
    """Raises DataError when the file is missing, damaged, asks for anything unexpected, or is no list of pairs."""
    try:
        packed = path.read_bytes()
        check_memo(packed)
        content = PlainUnpickler(io.BytesIO(packed), encoding="bytes").load()
    except (OSError, DataError) as problem:
        raise DataError(f"{path}: {problem}") from problem
    except Exception as problem:  # a damaged pickle may raise nearly anything
        raise DataError(f"{path}: not a readable verification pack ({problem})") from problem
    if not isinstance(content, tuple | list) or len(content) != 2 or not all(isinstance(c, list) for c in content):
        raise DataError(f"{path}: expected two lists, of images and of bools")
    images, same = [[plain(value) for value in values] for values in content]
    if not same or len(images) != 2 * len(same):
        raise DataError(f"{path}: {len(images)} images for {len(same)} pairs; expected two images a pair")
    if not all(isinstance(image, bytes) for image in images) or not all(value in (0, 1) for value in same):
        raise DataError(f"{path}: expected encoded images and bools")
    return VerificationPack(images, np.array(same, bool))


def plain(value: Any) -> Any:
    """Arrays of uint8 hold encoded images in some packs; they become bytes, as in the others."""
    if isinstance(value, PlainArray):
        return value.array.tobytes() if value.array.ndim else value.array.item()
    return value


def pack_images(pack: VerificationPack, name: str) -> list[PackImage]:
    return [PackImage(name, number, image) for number, image in enumerate(pack.images)]


def pairs(pack: VerificationPack, folds: int) -> pd.DataFrame:
    """Columns a, b (image numbers), same, fold: consecutive tenths (for ten folds), as InsightFace's protocol has them.

    Raises DataError when there are fewer pairs than folds.
    """
    P = len(pack.same)
    return pair_table(2 * np.arange(P), 2 * np.arange(P) + 1, pack.same, consecutive_folds(P, folds))
