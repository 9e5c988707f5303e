"""What `stscq why` and `stscq sources` do. Both work in the folder of the project."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stscq.errors import StscqError
from stscq.files import write_atomically
from stscq.hashes import sha256_of
from stscq.params import SCHEMA, read_params, sets_in_use, with_profile
from stscq.params_check import check, check_schema
from stscq.provenance.commit import describe_commit
from stscq.provenance.runs import ENDING

SHOWN = 10


def write_sources(out: Path) -> None:
    """OUT: JSON, data set -> SHA-256, of those of the profile that are on this machine. Raises ParamsError."""
    params = with_profile(read_params(Path()), Path("config"), {})
    check_schema(params, SCHEMA)
    check(params)
    named = [params["data"]["source"], *(params["sets"][name]["source"] for name in sets_in_use(params))]
    there = {place: Path(place) for place in named if place != "orl" and Path(place).exists()}
    write_atomically(out, json.dumps(sha256_of(there.values()), indent=1, sort_keys=True) + "\n")


def why(path: Path) -> bool:
    """Print where a file or folder came from, by its record; True when Snakemake finds it current.

    Raises StscqError when no record speaks of it.
    """
    folder = path if path.is_dir() else path.parent
    for place in sorted(folder.glob(f"*{ENDING}")):
        record = json.loads(place.read_text(encoding="utf-8"))
        if path.resolve() in (folder.resolve(), place.resolve(), *(Path(file).resolve() for file in record["outputs"])):
            reasons = left_to_do(in_project(place), record["outputs"])
            print("\n".join([str(path), *told(record), *(reasons or ["  current   yes"])]))
            return not reasons
    raise StscqError(f"{path}: no record beside it ({folder}/*{ENDING}) says which run made it")


def in_project(record: Path) -> Path:
    """As Snakemake calls it: links such as data -> /scratch/data are not followed. Raises StscqError."""
    place = Path(os.path.relpath(record))
    if place.parts[0] not in ("data", "models", "results") or len(place.parts) < 3:
        raise StscqError(
            f"{record}: no run of a profile wrote it here; only what is in data, models and results has one"
        )
    return place


def told(record: Mapping[str, Any]) -> list[str]:
    machine, files = record["machine"], sorted(file for group in record["inputs"].values() for file in group)
    return [
        f"  made by   {' '.join(record['command'][1:])}",
        f"  at        {record['began']}, in {record['seconds']:.0f} s, on {machine.get('gpu', machine['cpu'])}",
        f"  commit    {describe_commit(record['git'])}",
        f"  with      {', '.join(f'{name} {number}' for name, number in record['versions'].items())}",
        *(f"  read      {file}" for file in files[:SHOWN]),
        *([f"            and {len(files) - SHOWN} more"] if len(files) > SHOWN else []),
    ]


def left_to_do(record: Path, outputs: Sequence[str]) -> list[str]:
    """Why Snakemake would run jobs to make a record and the outputs beside it, a line a job; none when it would not."""
    options = ["--cores", "1", "--nolock", "--quiet", "host", "--config", f"profile={record.parts[1]}", "--"]
    command = [sys.executable, "-m", "snakemake", "-n", *options, str(record), *outputs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    if done.returncode:
        raise StscqError(f"{record}: snakemake cannot plan its jobs: {' '.join(said[-3:])}")
    if any("Nothing to be done" in line for line in said):
        return []
    reasons = [line.split("reason: ", 1)[1] for line in said if line.lstrip().startswith("reason: ")]
    return [f"  current   no: {reason}" for reason in reasons[:SHOWN]] or ["  current   no"]
