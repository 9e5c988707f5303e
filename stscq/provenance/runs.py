"""The record of a run, beside what it wrote: arguments, inputs, code, versions, machine and time.

Every module that the workflow calls writes one, OUT/MODULE.run.json, because stscq.cli_tools does it for all.
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
from typing import Any

from filelock import FileLock, Timeout

from stscq.provenance.code import ROOT, code_fingerprint
from stscq.provenance.hashes import CACHE, sha256_of
from stscq.training.checkpoint import write_atomically

ENDING = ".run.json"
DECIDING = ("--", ".", ":!results", ":!dvc.lock", ":!plan.yaml")
"""Of the tracked files, all but those that runs write."""
PACKAGES = ("torch", "numpy", "pandas", "scikit-image", "onnxruntime", "onnx", "dlib-bin", "insightface", "snakemake")


def record_file(module: str, out: Path) -> Path:
    """Where the run of a module writes its record: models/.../stage1.run.json."""
    return out / f"{module.rsplit('.', 1)[-1]}{ENDING}"


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
    """The record of a run that just ended and began at `began` (seconds since 1970). Its argument `out` says where."""
    out = arguments["out"]
    places = {name: value for name, value in arguments.items() if isinstance(value, Path) and name != "out"}
    record = {
        "module": module,
        "command": [Path(sys.executable).name, "-m", module, *sys.argv[1:]],
        "arguments": {name: str(v) if isinstance(v, Path) else v for name, v in arguments.items()},
        "inputs": {name: sha256_of(contents(place)) for name, place in places.items()},
        "outputs": sha256_of(file for file in contents(out) if file.stat().st_mtime >= began - 1),
        "code": code_fingerprint(module),
        "git": git_state(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "machine": machine(),
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        "seconds": round(time.time() - began, 1),
    }
    write_atomically(record_file(module, out), json.dumps(record, indent=1) + "\n")


def contents(place: Path) -> list[Path]:
    """A file, or the files of a folder, however deep; without records and what is hidden or unfinished."""
    if place.is_file():
        return [place]
    found = [file for file in sorted(place.rglob("*")) if file.is_file()]
    return [file for file in found if not any(unwanted(part) for part in file.relative_to(place).parts)]


def unwanted(name: str) -> bool:
    return name.startswith(".") or name.endswith((ENDING, ".partial"))


def git_state() -> dict[str, Any]:
    """Commit of the project, and whether code or parameters differed from it; nulls outside a git checkout."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", *arguments], cwd=ROOT.parent, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no", *DECIDING)
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def machine() -> dict[str, Any]:
    """What computed; no name of the host."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    found: dict[str, Any] = {"cpu": models[0] if models else platform.machine(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")  # jobs without torch have no GPU, and need not wait for its import
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found
