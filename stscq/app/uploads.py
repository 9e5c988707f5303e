"""Reading what was uploaded. Gradio hands on whatever path a request names, so it is checked here."""

from collections.abc import Sequence
from pathlib import Path

from stscq.errors import DataError

MOST_UPLOADED = 256 << 20
"""Bytes."""


def read_upload(path: str, allowed: Sequence[Path]) -> bytes:
    """The content of a file that is one of `allowed`, or lies in one of these folders.

    Raises DataError for any other, whether it is there or not, for what is no plain file, and for a file too large.
    """
    try:
        file = Path(path).resolve()  # links are followed first: none leads outside
    except ValueError as problem:  # a null byte
        raise DataError("not uploaded here; upload the file") from problem
    if not any(file.is_relative_to(place.resolve()) for place in allowed):
        raise DataError("not uploaded here; upload the file")
    try:
        if not file.is_file():
            raise DataError("deleted here meanwhile; upload it again")
        if file.stat().st_size > MOST_UPLOADED:
            raise DataError(f"more than {MOST_UPLOADED >> 20} MB; take a smaller picture")
        return file.read_bytes()
    except OSError as problem:
        raise DataError(f"cannot be read here ({problem.strerror}); upload it again") from problem
