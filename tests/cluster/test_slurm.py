"""profiles/slurm through a real SLURM on this machine: `make slurm`. docs/cluster.md says what it showed."""

import importlib.util
import os
import re
import signal
import subprocess
from contextlib import contextmanager

import pytest

from tests.cluster.slurm import missing, running, wait_until
from tests.provenance.conftest import ENVIRONMENT, Project, write_project

pytestmark = pytest.mark.slurm
TOO_LITTLE = 250
"""MB for stage 2, which holds some 500, and the Snakemake that starts it 200: the third try, with 1000, is enough."""
ASKS = f'resources={{"stage2": {{"mem_mb": {TOO_LITTLE}}}, "stage3": {{"gpu": 1}}}}'
# squeue: this SLURM has no accounts. Two CPUs, as its node has.
COMMAND = [
    *(
        "snakemake",
        "--profile",
        "profiles/slurm",
        "--cores",
        "2",
        "--slurm-status-command",
        "squeue",
        "--slurm-no-account",
    ),
    *("--seconds-between-status-checks", "2", "--config", ASKS, "--", "all"),
]
PATIENCE = 3600
"""Seconds after which something is wrong on the slowest machine."""
GROUPED = {
    **dict.fromkeys(["prepare_faces", "prepare_split"], "faces"),
    **dict.fromkeys(["summarise", "metrics", "table", "figure", "page"], "report"),
}
"""Rules whose jobs are one submission together, as profiles/slurm says."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        pytest.skip('pip install "stscq[cluster]"')
    if reason := missing():
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("slurm") / "slurm") as started:
        yield started


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("through_slurm") / "project"
    folder.mkdir()
    return write_project(folder)


@pytest.fixture(scope="module")
def local(project, tmp_path_factory):
    """The same project, run without a cluster."""
    folder = tmp_path_factory.mktemp("local") / "project"
    subprocess.run(["git", "clone", "-q", project.folder, folder], check=True)
    here = Project(folder)
    here.run("snakemake --cores 2 all")
    return here


def submitted(said):
    """SLURM's numbers of the jobs that Snakemake said it submitted."""
    return re.findall(r"has been submitted with SLURM jobid (\d+)", said)


def submissions(jobs):
    """How many submissions Rule -> number of jobs are."""
    return len({GROUPED[rule] for rule in jobs if rule in GROUPED}) + sum(
        number for rule, number in jobs.items() if rule not in GROUPED
    )


def as_in_the_foreground():
    """Ctrl-C is heard, also where these tests run in the background of a shell, which has it ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(project, slurm, log):
    """The command on its way; it does not outlive a test that failed."""
    path = f"{slurm.folder / 'bin'}:{ENVIRONMENT['PATH']}"
    with log.open("w") as file:
        process = subprocess.Popen(
            COMMAND, cwd=project.folder, env={**ENVIRONMENT, **slurm.environment, "PATH": path},
            start_new_session=True, preexec_fn=as_in_the_foreground, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def jobs(project):
    """Rule -> number of jobs, before any ran."""
    return project.jobs()


@pytest.fixture(scope="module")
def interrupted(slurm, project, jobs, tmp_path_factory):
    """The jobs of SLURM that had ended when a run was interrupted, as Ctrl-C does it."""
    log = tmp_path_factory.mktemp("first") / "log"
    recogniser = project.folder / "models/demo/recogniser/seed1/weights.safetensors"
    with started(project, slurm, log) as process:
        wait_until(lambda: recogniser.exists() or process.poll() is not None, PATIENCE, f"no recogniser, see {log}")
        wait_until(lambda: slurm.run("squeue -h -t running"), PATIENCE, f"nothing runs, see {log}")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=PATIENCE) != 0
    wait_until(lambda: not slurm.run("squeue -h -t pending,running,completing"), PATIENCE, "jobs are left behind")
    return {job["JobId"]: job["JobState"] for job in slurm.ended()}


@pytest.fixture(scope="module")
def continued(slurm, project, interrupted, tmp_path_factory):
    """The jobs of SLURM of the same command afterwards, in the order of their submission."""
    log = tmp_path_factory.mktemp("second") / "log"
    with started(project, slurm, log) as process:
        code = process.wait(timeout=PATIENCE)
    said = log.read_text()
    assert code == 0, said[-3000:]
    ended = {job["JobId"]: job for job in slurm.ended()}
    for job in ended.values():  # with pytest -s: the record of it
        print(job["JobId"], job["JobState"], job["Tres"], job["StartTime"], job["EndTime"])
    return [ended[number] for number in submitted(said)]


def test_a_run_that_was_interrupted_goes_on(project, jobs, interrupted, continued):
    assert "CANCELLED" in interrupted.values()
    assert "COMPLETED" in interrupted.values()
    assert project.jobs() == {}
    assert not {job["JobId"] for job in continued} & set(interrupted)
    completed = [job["JobState"] for job in continued].count("COMPLETED")
    assert completed < submissions(jobs), "what had been done was done again"
    # Every job was SLURM's, none ran beside it. One more where a job ended just when the run was interrupted.
    assert 0 <= completed + list(interrupted.values()).count("COMPLETED") - submissions(jobs) <= 1


def test_a_job_that_needs_more_memory_is_killed_and_gets_more(jobs, continued):
    tried = [(int(re.search(r"mem=(\d+)M", job["Tres"])[1]), job["JobState"]) for job in continued]
    for factor, state in ((1, "FAILED"), (2, "FAILED"), (4, "COMPLETED")):
        assert tried.count((factor * TOO_LITTLE, state)) == jobs["stage2"]


def test_stage3_got_the_gpu_of_the_node_and_nobody_else(slurm, jobs, continued):
    shown = [slurm.run(f"scontrol show job {job['JobId']}") for job in continued]
    assert sum("gres:gpu:1" in text for text in shown) == jobs["stage3"]


def test_another_scheduler_changes_no_result(project, continued, local):
    assert project.contents() == local.contents()
