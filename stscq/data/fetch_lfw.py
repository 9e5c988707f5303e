"""Labeled Faces in the Wild from where scikit-learn's fetcher gets it, with its SHA-256.

That fetcher starts a cut download anew, and takes pictures for complete that it was killed while unpacking. Here a cut
download goes on, and the pictures appear when all are there.
"""

import shutil
import sys
import tarfile
from pathlib import Path
from typing import NamedTuple

from stscq.data.lfw import PICTURES
from stscq.download import FAILURES, download, in_one_line
from stscq.errors import DataError
from stscq.files import sha256_of_file


class RemoteFile(NamedTuple):
    """As sklearn.datasets._lfw has it (scikit-learn 1.9)."""

    name: str
    url: str
    sha256: str


PAIRS = RemoteFile(
    "pairs.txt",
    "https://ndownloader.figshare.com/files/5976006",
    "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",
)
ARCHIVE = RemoteFile(
    "lfw-funneled.tgz",
    "https://ndownloader.figshare.com/files/5976015",
    "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
)


def fetch_lfw(home: Path) -> str:
    """Makes HOME/pairs.txt and HOME/lfw_funneled, and says how. What is already there is used as it is.

    Raises DataError, in one line that says how to get the file by hand, when one cannot be had.
    """
    if (home / PICTURES).is_dir() and (home / PAIRS.name).is_file():
        return f"{home}: was there"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / PAIRS.name).is_file():
        fetch(PAIRS, home).replace(home / PAIRS.name)
    if not (home / PICTURES).is_dir():
        archive = fetch(ARCHIVE, home)
        unpack(archive, home)
        archive.unlink()
    return f"{home}: fetched, agrees with scikit-learn's SHA-256"


def fetch(file: RemoteFile, home: Path) -> Path:
    """The file beside its place, whole and checked."""
    part = home / f".partial-{file.name}"
    try:
        if not (part.exists() and sha256_of_file(part) == file.sha256):
            print(f"{file.name} from {file.url}", file=sys.stderr)
            download(file.url, part, size=None)
    except FAILURES as problem:
        by_hand = f"run it again to go on, or put {file.url} at {home / file.name} by hand and unpack an archive"
        raise DataError(f"{home / file.name}: {in_one_line(problem)}; {by_hand}") from problem
    found = sha256_of_file(part)
    if found != file.sha256:
        part.unlink()
        raise DataError(f"{home / file.name}: refused: what came has SHA-256 {found}, not {file.sha256}")
    return part


def unpack(archive: Path, home: Path) -> None:
    """HOME/lfw_funneled from the archive; it appears when complete. Raises DataError for another archive."""
    unfinished = home / f".partial-{PICTURES}"
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with tarfile.open(archive, "r:gz") as pictures:
            pictures.extractall(unfinished, filter="data")
        (unfinished / PICTURES).replace(home / PICTURES)
    except (OSError, tarfile.TarError) as problem:
        raise DataError(f"{archive}: cannot be unpacked ({problem})") from problem
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
