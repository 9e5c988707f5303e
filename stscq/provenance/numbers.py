"""Which files of a run are its numbers, and Snakemake's notes of them. For packs (stscq.provenance.packs).

Numbers: what tables, figures and claims are made of. Paths are those in the project, such as
data/lfw/evaluation/ibq/global/test/seed1/metrics.json.
"""

import hashlib
import json
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow.parquet import read_schema

FOLDERS = ("data", "models")
"""In which jobs write what is no result yet; the second part of a path is the profile."""
KEPT_BACK = ("faces", "sets", "splits", "portraits", "sheets", "summary")
"""Folders of data/PROFILE: data sets, pictures of test people, and what follows from the numbers."""
ENDINGS = (".json", ".csv", ".parquet")
EMBEDDINGS = ("embeddings.npy", "centre.npy")
"""A judge's, of uncompressed test faces: further codecs are compared with exactly these."""
FILES = "files.parquet"
"""Compressed faces of test people."""


def is_made(path: PurePosixPath) -> bool:
    """Whether a job of a profile writes at such a place."""
    return len(path.parts) > 3 and path.parts[0] in FOLDERS and ".." not in path.parts


def is_number(path: PurePosixPath) -> bool:
    """By its place alone, for packing as for what a foreign pack brings."""
    if not is_made(path) or path.parts[2] in KEPT_BACK:
        return False
    if path.parts[0] == "models":  # no recipes and no bundles: training and codecs read these
        return path.name in ("log.jsonl", "sensitivity.json") or path.name.endswith(".run.json")
    if path.name in EMBEDDINGS:
        return path.parts[3] == "original"
    if path.parts[2] in ("coded_portraits", "strangers"):  # pictures that may be passed on; rates of groups of people
        return path.suffix in (".npz", ".json")
    return path.suffix in ENDINGS and path.name != FILES


def shows_people(path: PurePosixPath) -> bool:
    """Whether a number that is here holds an embedding of each compressed picture, as of faces of unknown identity."""
    return path.name == "images.parquet" and "embedding" in read_schema(path).names


def note_place(path: PurePosixPath) -> Path:
    """Where Snakemake keeps the note of an output: its path in base64, in pieces that a file may be named by."""
    folder = Path(".snakemake", "metadata", path.parts[1])
    name, piece = urlsafe_b64encode(str(path).encode()).decode(), os.pathconf(".", "PC_NAME_MAX") - 1
    *folders, last = [name[i : i + piece] for i in range(0, len(name), piece)]
    return folder.joinpath(*(f"@{part}" for part in folders), last)


def noted(profile: str) -> list[PurePosixPath]:
    """Of which files of data/PROFILE and models/PROFILE Snakemake has notes."""
    top = Path(".snakemake", "metadata", profile)
    places = [place.relative_to(top) for place in top.rglob("*") if place.is_file() and not place.name.startswith(".")]
    names = ("".join(part.removeprefix("@") for part in place.parts) for place in places)
    paths = [PurePosixPath(urlsafe_b64decode(name).decode()) for name in names]
    return sorted(path for path in paths if is_made(path) and path.parts[1] == profile)


def read_note(path: PurePosixPath) -> dict[str, Any]:
    """Snakemake's note without the command, which names this machine's Python, and which nobody compares; nothing where
    a job is writing it just now."""
    try:
        note: dict[str, Any] = json.loads(note_place(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {**note, "shellcmd": None}


def speaks_of(note: dict[str, Any], path: PurePosixPath, content: bytes) -> bool:
    """Whether it is this content that a note was written of (stscq.provenance.notes keeps its SHA-256)."""
    expected = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return bool(note.get("input_checksums", {}).get(str(path)) == expected)
