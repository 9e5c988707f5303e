"""A download that goes on where it was cut, by huggingface_hub's http_get, because it can resume."""

from pathlib import Path
from zipfile import BadZipFile

import httpx2
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.file_download import http_get

FAILURES = (httpx2.HTTPError, OSError, RuntimeError, BadZipFile)
"""What the libraries raise for a bad network, a bad answer or a full disk (requests' errors are OSErrors)."""


def download(url: str, part: Path, size: int | None) -> None:
    """Completes PART, of SIZE bytes where that is known, from what it already holds. Raises one of FAILURES."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    # Compressed answers cannot be resumed at a byte of the file.
    headers = {"Accept-Encoding": "identity"}
    try:
        with part.open("ab") as file:
            http_get(url, file, resume_size=have, headers=headers, expected_size=size, displayed_filename=part.stem)
    except OSError as problem:
        # A whole answer of another length is another file, such as a login page: nothing to go on from. (A cut
        # connection and an error status are other exceptions, a full disk has an errno.)
        if problem.errno is None and not isinstance(problem, HfHubHTTPError):
            part.unlink()
        raise


def in_one_line(problem: BaseException) -> str:
    """A failure for people."""
    kind = type(problem).__name__
    # httpx2, requests and the standard library each have their own ConnectError, ConnectTimeout or ConnectionError.
    what = "no connection" if kind.startswith("Connect") else kind
    return f"{what} ({next(iter(str(problem).splitlines()), '')})"
