"""What `stscq plan`, `make`, `adopt`, `record` and `why` do and print. All work in the folder of the project."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stscq.errors import StscqError
from stscq.files import write_atomically
from stscq.params import check, with_profile
from stscq.provenance.jobs import INNER, Job, current_jobs
from stscq.provenance.plan import PLAN, Stage, dvc_yaml, plan, stages
from stscq.provenance.reconcile import adopt, records, remember
from stscq.provenance.runs import DVC_WITHOUT_GIT, NO_CHECKOUT, describe_commit, git_state
from stscq.provenance.state import State, states

DVC_YAML = "dvc.yaml"
SHOWN = 10


def places() -> list[Path]:
    """The folders of the profile that params.yaml names. Raises ParamsError for wrong parameters."""
    base = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    merged = with_profile(base, Path("config"), {})
    check(merged)
    return [Path(top) / merged["profile"] for top in ("data", "models", "results")]


def write_plan(jobs: Sequence[Job] | None = None) -> None:
    """plan.json, and dvc.yaml where it is not what the parameters ask for. JOBS: the current ones, if known already.

    Raises StscqError in the second case: DVC has read the old one already.
    """
    places()
    found = stages(current_jobs({}) if jobs is None else jobs)
    write_atomically(Path(PLAN), json.dumps(plan(found), indent=1) + "\n")
    about = "# Written by `stscq plan` from params.yaml and the workflow. Not to be edited.\n"
    text = about + yaml.safe_dump(dvc_yaml(found), sort_keys=False, width=120)
    before = Path(DVC_YAML).read_text(encoding="utf-8") if Path(DVC_YAML).is_file() else ""
    if text != before:
        write_atomically(Path(DVC_YAML), text)
        raise StscqError(f"{DVC_YAML} was not that of params.yaml; it is now: run the same command again")


def make(name: str) -> None:
    """Run those jobs of one stage that are not current, whose inputs are there: what DVC calls.

    DVC leaves the folder of a stage as it is (persist), so that a new seed does not train the others again; what lies
    in it of seeds that nobody asks for any more is deleted, since DVC is about to record the folder.
    Raises StscqError when there is no such stage, or a job fails.
    """
    jobs = current_jobs({})
    stage = find(name, stages(jobs))
    delete_left_over(stage)
    stale = [job for job, state in states(jobs).items() if job in stage.jobs and not state.current]
    for job in stale:
        job.record.unlink(missing_ok=True)  # an output like others: its job runs again
    if not stale:
        return
    rules = sorted({job.rule for job in stale})
    targets = [str(job.record) for job in stale]
    command = [sys.executable, "-m", "snakemake", "--cores", "all", *targets, "--allowed-rules", *rules]
    done = subprocess.run(command, env={**os.environ, INNER: "1"}, check=False)
    if done.returncode:
        raise StscqError(f"stage {name} failed; see the log that is named above")


def delete_left_over(stage: Stage) -> None:
    """Files of a stage that none of its jobs writes: DVC would delete them, were it not for persist."""
    for file in [path for path in stage.out.rglob("*") if path.is_file()]:
        if not any(job.place.holds(file) for job in stage.jobs):
            file.unlink()


def find(name: str, found: Sequence[Stage]) -> Stage:
    for stage in found:
        if stage.name == name:
            return stage
    raise StscqError(f"{name}: no such stage; there are {', '.join(stage.name for stage in found)}")


def adopt_all() -> bool:
    """Have Snakemake take over what is current. One line for each job that is not; True when all are."""
    found = adopt({})
    remember(places())
    return report(found)


def report(found: Mapping[Job, State]) -> bool:
    stale = {job: state for job, state in found.items() if not state.current}
    for job, state in list(stale.items())[:SHOWN]:
        print(f"{job.out}: {reason(state)}")
    if len(stale) > SHOWN:
        print(f"... and {len(stale) - SHOWN} more")
    print(f"{len(found) - len(stale)} of {len(found)} jobs are current")
    return not stale


def reason(state: State) -> str:
    return state.problems[0] if state.problems else f"waits for {state.waits_for}"


def record_all() -> None:
    """Tell DVC that what a plain `snakemake` run made is what its stages would make.

    Raises StscqError, after naming what is not current, when anything is not; DVC then learns nothing.
    """
    found = states(current_jobs({}))
    if not report(found):
        raise StscqError("not recorded: run `snakemake --cores all all` first, then `stscq record`")
    left_over = sorted(set(records(places())) - {job.record for job in found})
    if left_over:
        raise StscqError(
            f"not recorded: {left_over[0].parent} is of other parameters ({len(left_over)} such folders), and would be "
            "recorded with the rest; delete it"
        )
    write_plan(list(found))
    dvc("commit", "--force", "--no-relink")
    print("recorded in dvc.lock; now git add dvc.lock, and dvc push to share the files")


def dvc(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], check=False)
    if done.returncode:
        hint = f"; {DVC_WITHOUT_GIT}" if git_state().get("why") == NO_CHECKOUT else ""
        raise StscqError(f"dvc {' '.join(arguments)} failed; see above{hint}")


def why(path: Path) -> bool:
    """Print where a file or folder came from; True when it is current.

    Raises StscqError when no job of the workflow makes it.
    """
    found = states(current_jobs({}))
    wanted = path.resolve()
    for job, state in found.items():
        made = [Path(file).resolve() for file in (state.record or {}).get("outputs", [])]
        if wanted in (*made, job.out.resolve(), job.record.resolve()):
            tell(path, job, state)
            return state.current
    raise StscqError(f"{path}: no job of the profile in params.yaml makes it, or its record is gone")


def tell(path: Path, job: Job, state: State) -> None:
    record: Mapping[str, Any] = state.record or {}
    lines = [f"{path}"]
    if record:
        machine = record["machine"]
        files = sorted(file for group in record["inputs"].values() for file in group)
        lines += [
            f"  made by   {' '.join(record['command'][1:])}",
            f"  at        {record['began']}, in {record['seconds']:.0f} s, on {machine.get('gpu', machine['cpu'])}",
            f"  commit    {describe_commit(record['git'])}",
            f"  with      {', '.join(f'{name} {number}' for name, number in record['versions'].items())}",
            *(f"  read      {file}" for file in files[:SHOWN]),
            *([f"            and {len(files) - SHOWN} more"] if len(files) > SHOWN else []),
        ]
    problems = [] if state.current else state.problems or [reason(state)]
    lines += [f"  current   no: {problem}" for problem in problems] or ["  current   yes"]
    print("\n".join(lines))
