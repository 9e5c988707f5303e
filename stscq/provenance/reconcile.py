"""Make Snakemake agree with the contents of files, before it decides what to run.

Snakemake goes by times and by notes in .snakemake, which neither git nor DVC carries along: after a `dvc pull` it would
run everything again, and after a `dvc checkout` it may call an old model up to date. Here the records of runs decide:
what is current is touched in the order of the jobs (as `snakemake --touch` does), and of what is not the record is
taken away, which is an output of its job like others, so that the job runs again.
"""

import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stscq.errors import StscqError
from stscq.files import write_atomically
from stscq.provenance.hashes import CACHE, state_of
from stscq.provenance.jobs import Job, complaint, current_jobs, snakemake
from stscq.provenance.runs import ENDING
from stscq.provenance.state import State, changed_files, read_record, states

LOCKS = Path(".snakemake") / "locks"


def reconcile(folders: Sequence[Path], given: Mapping[str, Any]) -> None:
    """Before Snakemake plans: notice outputs that were edited by hand, and outputs that another tool put there.

    FOLDERS are those of the running profile; `given` is what was given with --config. Says on stderr what it did. Does
    nothing while another Snakemake works in this folder.
    """
    if LOCKS.is_dir() and any(LOCKS.iterdir()):
        return
    drop_edited(folders)
    if signature(folders) != remembered(folders):
        adopt(given)
        remember(folders)


def drop_edited(folders: Sequence[Path]) -> None:
    """Take away the records whose outputs are no longer what was written: their jobs run again."""
    for path in records(folders):
        record = read_record(path)
        problems = ["not readable"] if record is None else list(changed_files(record["outputs"]))
        if problems:
            say(f"{path}: {problems[0]}; its job will run again")
            path.unlink()


def adopt(given: Mapping[str, Any]) -> dict[Job, State]:
    """Have Snakemake take what is current for its own, and see the rest as missing. Returns the state of every job.

    Raises StscqError when Snakemake cannot plan, or does not touch the files.
    """
    found = states(current_jobs(given))
    for job, state in found.items():
        if state.record is not None and state.problems:
            say(f"{job.out}: not current ({state.problems[0]}); its job will run again")
            job.record.unlink()
    current = {job: state.record for job, state in found.items() if state.current and state.record}
    if current:
        files = [file for job, record in current.items() for file in (*record["outputs"], str(job.record))]
        done = snakemake(["--touch", "--forceall", *files], given)
        if done.returncode:
            raise StscqError(f"snakemake --touch failed: {complaint(done.stdout + done.stderr)}")
        say(f"{len(current)} of {len(found)} jobs are current")
    return found


def records(folders: Sequence[Path]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob(f"*{ENDING}"))


def signature(folders: Sequence[Path]) -> str:
    """Changes when any record is written, put there or taken away by somebody, and when a rule is edited.

    Of an output that a rule did not name before Snakemake has no notes, and then overlooks that code or parameters of
    its job have changed. Empty without records: there is nothing to adopt.
    """
    seen = [f"{path} {state_of(path)}\n".encode() for path in records(folders)]
    rules = [file.read_bytes() for file in sorted(Path("workflow").rglob("*.smk"))]
    return hashlib.sha256(b"".join(seen + rules)).hexdigest() if seen else ""


def remembered(folders: Sequence[Path]) -> str:
    """The signature after the last run here; none before the first."""
    try:
        return memory(folders).read_text(encoding="utf-8")
    except OSError:
        return ""


def remember(folders: Sequence[Path]) -> None:
    """When a run has ended: its records are known to Snakemake."""
    write_atomically(memory(folders), signature(folders))


def memory(folders: Sequence[Path]) -> Path:
    return CACHE.parent / f"{folders[0].name}.seen"


def say(text: str) -> None:
    print(f"records: {text}", file=sys.stderr)
