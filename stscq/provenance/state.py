"""Is what a job wrote what it would write now? Told by the content of files, not by their times."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stscq.provenance.code import code_fingerprint
from stscq.provenance.hashes import sha256_of
from stscq.provenance.jobs import Job, options_of


class State(NamedTuple):
    """Of the outputs of one job.

    record: of the run that wrote them, None when there is none. problems: why they are not what the job would write
    from the files that are there now. waits_for: a file among its inputs whose own job has problems, or waits itself.
    """

    record: dict[str, Any] | None
    problems: list[str]
    waits_for: str | None = None

    @property
    def current(self) -> bool:
        return not self.problems and self.waits_for is None


def states(jobs: Sequence[Job]) -> dict[Job, State]:
    """Of all jobs, in any order."""
    found = {}
    for job in jobs:
        record = read_record(job.record)
        problems = ["it has not run here"] if record is None else list(differences(job, record))
        found[job] = State(record, problems)
    owner = {job.out: job for job in jobs}
    settled = False
    while not settled:  # a few rounds: as many as there are steps from raw faces to tables
        settled = True
        for job, state in found.items():
            after = with_inputs(state, owner, found)
            settled &= after == state
            found[job] = after
    return found


def with_inputs(state: State, owner: Mapping[Path, Job], found: Mapping[Job, State]) -> State:
    """`state`, if it was current so far, after a look at the inputs. What waits may turn out to be right after all.

    owner: folder, file or stem -> the job that writes there.
    """
    if not state.current or state.record is None:
        return state
    inputs = {file: sha256 for group in state.record["inputs"].values() for file, sha256 in group.items()}
    files = {file: sha256 for file, sha256 in inputs.items() if not of_dropped_seed(Path(file), owner)}
    unsettled = [file for file in files if (job := owner_of(Path(file), owner)) and not found[job].current]
    if unsettled:
        return state._replace(waits_for=unsettled[0])
    return state._replace(problems=list(changed_files(files)))


def owner_of(file: Path, owner: Mapping[Path, Job]) -> Job | None:
    """The job that writes a file: into its folder, this file alone, or files of this stem."""
    stem = file.with_name(file.name.split(".")[0])
    return next((owner[path] for path in (file.parent, file, stem) if path in owner), None)


def of_dropped_seed(file: Path, outs: Collection[Path]) -> bool:
    """Tables are made of a whole folder of evaluations, where seeds that nobody asks for any more may still lie."""
    seed = file.parent.name.startswith("seed")
    return seed and file.parent not in outs and any(out.parent == file.parent.parent for out in outs)


def read_record(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record


def differences(job: Job, record: Mapping[str, Any]) -> Iterator[str]:
    """Why a record does not speak of what the job would do now, or its outputs are not those that it wrote."""
    before, now = dict(options_of(record["command"][3:])), dict(job.options)
    for option in sorted(before.keys() | now.keys()):
        if before.get(option) != now.get(option):
            yield f"{option} was {before.get(option, 'not given')}, is {now.get(option, 'not given')}"
    if record["code"] != code_fingerprint(job.module):
        yield f"the code of {job.module} changed"
    yield from changed_files(record["outputs"])


def changed_files(files: Mapping[str, str]) -> Iterator[str]:
    """Those that are missing or do not have this SHA-256."""
    for file, sha256 in files.items():
        if not Path(file).is_file():
            yield f"{file} is missing"
        elif sha256_of([Path(file)])[file] != sha256:
            yield f"{file} has changed since"
