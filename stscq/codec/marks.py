"""`stscq watermark detect`: which pictures bear the mark, and of which model."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stscq.codec.bundle.find import all_bundles
from stscq.codec.commands import LEFT_OUT, tell
from stscq.codec.files.sources import STDIN, is_stream, read_stream
from stscq.codec.watermark.detect import WHOLE, Detection
from stscq.codec.watermark.detect import detect as read_mark
from stscq.codec.watermark.embed import VERSION
from stscq.codec.watermark.tiles import FRAME, TILE
from stscq.data.photos import read_photo
from stscq.errors import DataError


def detect(files: Sequence[str], as_json: bool) -> int:
    """Prints a line a picture; LEFT_OUT when one has no mark, 1 when one cannot be read (the others are looked at)."""
    models = {bundle.fingerprint.hex(): bundle.name for bundle in all_bundles()}
    code = 0
    for file in files:
        try:
            found = read_mark(large_enough(picture(file)))
        except (DataError, OSError) as problem:
            said = problem if isinstance(problem, DataError) else problem.strerror
            text = f"error: {shown_name(file)}: {said}"
            tell({"file": file, "problem": str(said)}, text, as_json, err=not as_json)
            code = 1
        else:
            tell(facts_of(file, found, models), f"{shown_name(file)}: {in_words(found, models)}", as_json)
            code = code or (0 if found.found else LEFT_OUT)
    return code


def picture(file: str) -> np.ndarray:
    """H x W x 3 uint8. Raises DataError or OSError when it cannot be read."""
    return read_photo(read_stream(file) if is_stream(file) else Path(file))


def large_enough(image: np.ndarray) -> np.ndarray:
    """Raises DataError for a picture so small that nothing of the mark would be left."""
    if min(image.shape[:2]) < TILE:
        raise DataError(f"{image.shape[1]} x {image.shape[0]} pixels; a mark needs {TILE} x {TILE}")
    return image


def facts_of(file: str, found: Detection, models: dict[str, str]) -> dict[str, Any]:
    """For programs; `problem` is None where the picture could be read."""
    if not found.found:
        return {"file": file, "marked": False, "problem": None}
    return {
        "file": file,
        "marked": True,
        "version": found.message.version,
        "model": found.message.digits,
        "names": names_of(found, models),
        "log10 of the chance without a mark, at most": round(found.log_chance / math.log(10), 1),
        "part": None if found.place == WHOLE else [round(n / FRAME, 3) for n in found.place],
        "problem": None,
    }


def in_words(found: Detection, models: dict[str, str]) -> str:
    """For people."""
    if not found.found:
        return "no mark found"
    names = " or ".join(names_of(found, models)) or "none at hand"
    text = f"marked: made by stscq decompress, model {found.message.digits}... ({names})"
    if found.message.version != VERSION:
        text += f", mark of version {found.message.version}, which this program does not know"
    if found.place.rows < FRAME:
        text += f"; cut off, about {found.place.rows / FRAME:.0%} of its height is left"
    return f"{text}; by chance at most once in 10^{math.floor(-found.log_chance / math.log(10))} pictures"


def names_of(found: Detection, models: dict[str, str]) -> list[str]:
    """The models at hand whose fingerprints begin as the mark says. models: fingerprint -> name."""
    return [name for fingerprint, name in models.items() if fingerprint.startswith(found.message.digits)]


def shown_name(file: str) -> str:
    return "standard input" if file == STDIN else file
