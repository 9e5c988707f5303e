"""What allocating entries to tokens goes by, at rest: stscq.training.sensitivity measures it.

Axes: T tokens, K entries.
"""

import json
from pathlib import Path
from typing import NamedTuple

from stscq.errors import DataError
from stscq.files import write_atomically

DIGITS = 6


class Sensitivity(NamedTuple):
    """w: how much identity moves by an error in each token, of mean 1 (T); errors: from a number of entries, 1, 2, 4,
    ..., to the mean squared error that so many leave in each token, D_j (T)."""

    w: list[float]
    errors: dict[int, list[float]]


def write_sensitivity(measured: Sensitivity, folder: Path) -> None:
    """FOLDER/sensitivity.json."""
    rounded = {
        "w": [round(value, DIGITS) for value in measured.w],
        "errors": {K: [round(error, DIGITS) for error in errors] for K, errors in measured.errors.items()},
    }
    write_atomically(folder / "sensitivity.json", json.dumps(rounded) + "\n")


def read_sensitivity(file: Path, T: int | None = None) -> Sensitivity:
    """What `write_sensitivity` wrote. Raises DataError, naming the file, when it is not one (for T tokens)."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        read = Sensitivity(list(content["w"]), {int(K): list(errors) for K, errors in content["errors"].items()})
        numbers = [*read.w, *(error for errors in read.errors.values() for error in errors)]
        fits = all(isinstance(number, int | float) and number >= 0 for number in numbers)
        fits = fits and all(len(errors) == len(read.w) for errors in read.errors.values())
        fits = fits and list(read.errors) == [2**bits for bits in range(len(read.errors))] and T in (None, len(read.w))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise DataError(f"{file}: no sensitivities to read ({problem!r}); run its rule again") from problem
    if not fits:
        raise DataError(f"{file}: wanted are a sensitivity and errors for each token; run its rule again")
    return read
