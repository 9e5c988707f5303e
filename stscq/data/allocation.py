"""An allocation at rest: how many entries each token's codebook has, and what it was decided by.

Axes: T tokens, K entries.
"""

import json
from pathlib import Path
from typing import NamedTuple

from stscq.errors import DataError
from stscq.files import write_atomically

DIGITS = 6


class Allocation(NamedTuple):
    """entries: K_j of each token, powers of two (T); power: of the sensitivity; sensitivity: w_j, mean 1 (T).

    errors: from a number of entries to the mean squared error that so many leave in each token (T).
    """

    entries: list[int]
    power: float
    sensitivity: list[float]
    errors: dict[int, list[float]]


def write_allocation(allocation: Allocation, folder: Path) -> None:
    """FOLDER/allocation.json."""
    rounded = allocation._replace(
        sensitivity=[round(w, DIGITS) for w in allocation.sensitivity],
        errors={K: [round(error, DIGITS) for error in errors] for K, errors in allocation.errors.items()},
    )
    write_atomically(folder / "allocation.json", json.dumps(rounded._asdict()) + "\n")


def read_allocation(file: Path, T: int | None = None) -> Allocation:
    """What `write_allocation` wrote. Raises DataError, naming the file, when it is not one (for T tokens)."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        errors = {int(K): list(of_tokens) for K, of_tokens in content["errors"].items()}
        read = Allocation(content["entries"], content["power"], content["sensitivity"], errors)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise DataError(f"{file}: no allocation to read ({problem!r}); run its rule again") from problem
    fits = len(read.entries) == len(read.sensitivity) and T in (None, len(read.entries))
    if not fits or not all(type(K) is int and K >= 1 for K in read.entries):
        raise DataError(f"{file}: wanted are a number of entries and a sensitivity a token; run its rule again")
    return read
