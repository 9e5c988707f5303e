"""The record of a run, beside what it wrote: arguments, inputs, code, versions, machine and time. For people to read.

Every module that the workflow calls writes one, because stscq.cli_tools does it for all. Where, says the argument that
names the module's outputs: `out`, a folder of its own, gets OUT/MODULE.run.json; `stem`, the beginning of the names of
files in a folder that jobs share (tables/main: main.csv, main.md), gets STEM.run.json; `file`, one file, the same.
"""

import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from stscq import ranks
from stscq.files import write_atomically
from stscq.hashes import CACHE, sha256_of
from stscq.machine import machine
from stscq.provenance.code import code_fingerprint
from stscq.provenance.commit import git_state

ENDING = ".run.json"
KINDS = ("out", "stem", "file")
PACKAGES = ("torch", "numpy", "pandas", "scikit-image", "onnxruntime", "onnx", "dlib-bin", "insightface", "snakemake")


def place_of(arguments: Mapping[str, Any]) -> tuple[str, Path]:
    """Which of KINDS a module's argument is that says where it writes, and what that says."""
    kind = next(kind for kind in KINDS if kind in arguments)
    return kind, Path(arguments[kind])


@contextmanager
def one_at_a_time(module: str, out: Path) -> Iterator[None]:
    """A workflow that was killed leaves its jobs running: the same job, started again, waits until they have ended."""
    lock = CACHE.parent / "locks" / hashlib.sha256(f"{module} {out.resolve()}".encode()).hexdigest()[:16]
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock).acquire(blocking=False)
    except Timeout:
        print(f"{out}: another process is writing there; waiting for it", file=sys.stderr)
        held = FileLock(lock).acquire()
    with held:
        yield


def write_record(module: str, arguments: Mapping[str, Any], began: float) -> None:
    """The record of a run that just ended and began at `began` (seconds since 1970)."""
    kind, place = place_of(arguments)
    wrote = place.parent.glob(f"{place.name}.*") if kind == "stem" else contents(place)
    read = {name: contents(v) for name, v in arguments.items() if isinstance(v, Path) and name not in KINDS}
    source = arguments.get("source", "orl")
    if source != "orl" and Path(source).exists():  # a data set may have a million files: one digest for all
        read["source"] = [Path(source)]
    record = {
        "module": module,
        "command": [Path(sys.executable).name, "-m", module, *sys.argv[1:]],
        "arguments": {name: str(v) if isinstance(v, Path) else v for name, v in arguments.items()},
        "inputs": {name: sha256_of(files) for name, files in read.items()},
        "outputs": sha256_of(f for f in sorted(wrote) if f.stat().st_mtime >= began - 1 and not unwanted(f.name)),
        "code": code_fingerprint(module),
        "git": git_state(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": machine(),
        **({"processes": ranks.count()} if ranks.count() > 1 else {}),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "seconds": round(time.time() - began, 1),
    }
    beside = place / module.rsplit(".", 1)[-1] if kind == "out" else place.parent / place.name.split(".")[0]
    write_atomically(beside.with_name(beside.name + ENDING), json.dumps(record, indent=1) + "\n")


def contents(place: Path) -> list[Path]:
    """A file, or the files of a folder, however deep; without records and what is hidden or unfinished."""
    if place.is_file():
        return [place]
    found = [file for file in sorted(place.rglob("*")) if file.is_file()]
    return [file for file in found if not any(unwanted(part) for part in file.relative_to(place).parts)]


def unwanted(name: str) -> bool:
    return name.startswith(".") or name.endswith((ENDING, ".partial"))
