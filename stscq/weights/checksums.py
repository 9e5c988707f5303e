"""Is a file the right one? By the SHA-256 in the manifest, else by the one that its first download left here.

weights/SHA256SUMS holds the second kind, in the format of `sha256sum -c` (run it inside weights/).
"""

import re
from enum import Enum
from pathlib import Path

from filelock import FileLock

from stscq.files import sha256_of_file, write_atomically
from stscq.weights.manifest import FOLDER, Weight, WeightsError

LINE = re.compile(r"([0-9a-f]{64}) [ *](\S.*)")


class State(Enum):
    """State of a file of weights; the values are what `stscq weights list` prints."""

    RIGHT = "present, verified"
    MISSING = "missing"
    WRONG = "present, WRONG"
    UNPINNED = "present, no known hash"


def sums_file(root: Path) -> Path:
    return root / FOLDER / "SHA256SUMS"


def recorded(root: Path) -> dict[str, str]:
    """Name inside weights/: SHA-256; empty before the first is recorded. Raises WeightsError for an unreadable line."""
    file = sums_file(root)
    sums: dict[str, str] = {}
    if not file.exists():
        return sums
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = LINE.fullmatch(line.rstrip())
        if not match:
            raise WeightsError(f"{file}, line {number}: not '<SHA-256>  <file>'; correct or delete the line")
        sums[match[2]] = match[1]
    return sums


def record(root: Path, weight: Weight, sha256: str) -> None:
    """Makes `sha256` the pin of `weight`, beside what is recorded already; several downloads may end at once."""
    file = sums_file(root)
    with FileLock(file.with_suffix(".lock")):
        sums = recorded(root) | {weight.name: sha256}
        write_atomically(file, "".join(f"{sha}  {name}\n" for name, sha in sorted(sums.items())))


def pin(root: Path, weight: Weight) -> str | None:
    """What the file must hash to; the manifest wins over SHA256SUMS."""
    return weight.sha256 or recorded(root).get(weight.name)


def state(root: Path, weight: Weight) -> State:
    """Reads the whole file, unless its size already tells."""
    file = root / weight.path
    if not file.is_file():
        return State.MISSING
    if weight.size is not None and file.stat().st_size != weight.size:
        return State.WRONG
    wanted = pin(root, weight)
    if wanted is None:
        return State.UNPINNED
    return State.RIGHT if sha256_of_file(file) == wanted else State.WRONG
