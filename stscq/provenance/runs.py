"""The record of a run, beside what it wrote: arguments, inputs, code, versions, machine and time.

Every module that the workflow calls writes one, because stscq.cli_tools does it for all. Where, says the argument that
names the module's outputs: `out`, a folder of its own, gets OUT/MODULE.run.json; `stem`, the beginning of the names of
files in a folder that jobs share (tables/main: main.csv, main.md), gets STEM.run.json; `file`, one file, the same.
"""

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from stscq.files import write_atomically
from stscq.provenance.code import ROOT, code_fingerprint
from stscq.provenance.hashes import CACHE, sha256_of

ENDING = ".run.json"
DECIDING = ("--", ".", ":!results", ":!dvc.lock", ":!plan.json")
"""Of the tracked files, all but those that runs write."""
NO_CHECKOUT = "no git: the project is no checkout, but an unpacked archive, say"
DVC_WITHOUT_GIT = "DVC works without git after `dvc config --local core.no_scm true`"
PACKAGES = ("torch", "numpy", "pandas", "scikit-image", "onnxruntime", "onnx", "dlib-bin", "insightface", "snakemake")


KINDS = ("out", "stem", "file")
"""Names of the argument that says where a module writes; it has one of them."""


class Place(NamedTuple):
    """Where a job writes: one of KINDS, and what that argument says."""

    kind: str
    path: Path

    def record(self, module: str) -> Path:
        if self.kind == "out":
            return self.path / f"{module.rsplit('.', 1)[-1]}{ENDING}"
        return self.path.parent / f"{self.path.name.split('.')[0]}{ENDING}"

    def files(self) -> list[Path]:
        """What is there, without the record."""
        if self.kind == "stem":
            found = sorted(self.path.parent.glob(f"{self.path.name}.*"))
            return [file for file in found if not file.name.endswith(ENDING)]
        return contents(self.path)

    def holds(self, file: Path) -> bool:
        """Is it one of the job's outputs, its record, or what an unfinished run left?"""
        if self.kind == "out":
            return any(
                file.is_relative_to(folder) for folder in (self.path, self.path.with_name(f"{self.path.name}.partial"))
            )
        return file.parent == self.path.parent and file.name.split(".")[0] == self.path.name.split(".")[0]


def place_of(arguments: Mapping[str, Any]) -> Place:
    """From the arguments of a module, or the options of its command line without their dashes."""
    kind = next(kind for kind in KINDS if kind in arguments)
    return Place(kind, Path(arguments[kind]))


@contextmanager
def one_at_a_time(module: str, out: Path) -> Iterator[None]:
    """A workflow that was killed leaves its jobs running: the same job, started again, waits until they have ended."""
    name = hashlib.sha256(f"{module} {out.resolve()}".encode()).hexdigest()[:16]
    place = CACHE.parent / "locks"
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / name)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"{out}: another process is writing there; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_record(module: str, arguments: Mapping[str, Any], began: float) -> None:
    """The record of a run that just ended and began at `began` (seconds since 1970)."""
    place = place_of(arguments)
    read = {name: value for name, value in arguments.items() if isinstance(value, Path) and name not in KINDS}
    record = {
        "module": module,
        "command": [Path(sys.executable).name, "-m", module, *sys.argv[1:]],
        "arguments": {name: str(v) if isinstance(v, Path) else v for name, v in arguments.items()},
        "inputs": {name: sha256_of(contents(path)) for name, path in read.items()},
        "outputs": sha256_of(file for file in place.files() if file.stat().st_mtime >= began - 1),
        "code": code_fingerprint(module),
        "git": git_state(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": machine(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "seconds": round(time.time() - began, 1),
    }
    write_atomically(place.record(module), json.dumps(record, indent=1) + "\n")


def contents(place: Path) -> list[Path]:
    """A file, or the files of a folder, however deep; without records and what is hidden or unfinished."""
    if place.is_file():
        return [place]
    found = [file for file in sorted(place.rglob("*")) if file.is_file()]
    return [file for file in found if not any(unwanted(part) for part in file.relative_to(place).parts)]


def unwanted(name: str) -> bool:
    return name.startswith(".") or name.endswith((ENDING, ".partial"))


def git_state() -> dict[str, Any]:
    """Commit of the project, and whether code or parameters differed from it; where that is unknown nulls, and why."""
    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT.parent.resolve():
            raise NoCommitError("no git: the project is no checkout of its own")
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no", *DECIDING)
    except NoCommitError as problem:
        return {"commit": None, "dirty": None, "why": str(problem)}
    return {"commit": commit, "dirty": bool(changes)}


class NoCommitError(Exception):
    """Says why, in one line."""


def git(*arguments: str) -> str:
    """What git says of the project. Raises NoCommitError."""
    command = ["git", *arguments]
    environment = {**os.environ, "LC_ALL": "C"}  # its messages are read here
    try:
        done = subprocess.run(
            command,
            cwd=ROOT.parent,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError as problem:
        raise NoCommitError(f"no git: it cannot be started ({problem.strerror})") from problem
    if "not a git repository" in done.stderr:
        raise NoCommitError(NO_CHECKOUT)
    said = " ".join(done.stderr.split())
    if done.returncode:
        raise NoCommitError(f"git: {said.removeprefix('fatal: ')}")  # of somebody else's clone it says what to type
    return done.stdout.strip()


def describe_commit(state: Mapping[str, Any]) -> str:
    """What `git_state` found, for people."""
    if not state["commit"]:
        return str(state.get("why", "no git"))
    return state["commit"][:12] + (" with changes that were not committed" if state["dirty"] else "")


def tell_if_commit_is_unknown() -> None:
    """Once a run, on stderr: its records cannot say which code made what."""
    if why := git_state().get("why"):
        hint = f"; {DVC_WITHOUT_GIT}" if why == NO_CHECKOUT else ""
        print(f"records: without a commit: {why}{hint}", file=sys.stderr)


def machine() -> dict[str, Any]:
    """What computed; no name of the host."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    found: dict[str, Any] = {"cpu": models[0] if models else platform.machine(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")  # jobs without torch have no GPU, and need not wait for its import
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found
