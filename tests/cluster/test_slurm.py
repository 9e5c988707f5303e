"""profiles/slurm through a real SLURM on this machine: `make slurm`. docs/cluster.md says what it showed."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess

import pytest

from tests.cluster.slurm import missing, running, wait_until
from tests.provenance.conftest import ENVIRONMENT, Project, write_project

pytestmark = pytest.mark.slurm
TOO_LITTLE = 250
"""MB for stage 2, which holds some 500, and the Snakemake that runs it 200: the third try, with 1000, is enough."""
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


def start(project, slurm, log):
    path = f"{slurm.folder / 'bin'}:{ENVIRONMENT['PATH']}"
    return subprocess.Popen(
        COMMAND, cwd=project.folder, env={**ENVIRONMENT, **slurm.environment, "PATH": path}, start_new_session=True,
        stdout=log.open("w"), stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_interrupted_continued_and_tried_again_with_more_memory(slurm, project, local, tmp_path):
    jobs = project.jobs()
    first = start(project, slurm, tmp_path / "first.log")
    recogniser = project.folder / "models/demo/recogniser/seed1/weights.safetensors"
    wait_until(lambda: recogniser.exists() or first.poll() is not None, 1200, f"no recogniser, see {tmp_path}")
    wait_until(lambda: slurm.run("squeue -h -t running"), 600, "nothing runs")
    os.kill(first.pid, signal.SIGINT)
    assert first.wait(timeout=300) != 0
    wait_until(lambda: not slurm.run("squeue -h -t pending,running,completing"), 120, "jobs are left behind")
    interrupted = {job["JobId"]: job["JobState"] for job in slurm.ended()}
    assert "CANCELLED" in interrupted.values()
    faces = (project.folder / "data/demo/faces/images.npy").stat().st_mtime_ns

    second = start(project, slurm, tmp_path / "second.log")
    code = second.wait(timeout=3600)
    said = (tmp_path / "second.log").read_text()
    assert code == 0, said[-3000:]
    assert (project.folder / "data/demo/faces/images.npy").stat().st_mtime_ns == faces, "done before, and done again"
    assert project.jobs() == {}

    # Every job was SLURM's: none ran beside it, and what had ended well before was not submitted again.
    ended = {job["JobId"]: job for job in slurm.ended()}
    assert not set(submitted(said)) & set(interrupted)
    states = [ended[number]["JobState"] for number in submitted(said)]
    well = states.count("COMPLETED") + list(interrupted.values()).count("COMPLETED")
    assert well >= submissions(jobs)
    assert states.count("COMPLETED") < submissions(jobs)

    # Stage 2 was killed for holding more than it asked for, and tried with twice the memory, twice.
    memory = [re.search(r"mem=(\d+)M", ended[number]["Tres"])[1] for number in submitted(said)]
    tried = [(int(mb), state) for mb, state in zip(memory, states, strict=True) if int(mb) in (250, 500, 1000)]
    assert {(TOO_LITTLE, "FAILED"), (2 * TOO_LITTLE, "FAILED"), (4 * TOO_LITTLE, "COMPLETED")} <= set(tried)
    assert (TOO_LITTLE, "COMPLETED") not in tried

    # Stage 3 got the node's GPU.
    gpu = [number for number in submitted(said) if "gres:gpu:1" in slurm.run(f"scontrol show job {number}")]
    assert len(gpu) == jobs["stage3"]

    # And another scheduler changes no result.
    assert project.contents() == local.contents()
    keep = os.environ.get("STSCQ_SLURM_LOG")
    if keep:
        shutil.copy(tmp_path / "second.log", keep)
    print(f"{len(jobs)} rules, {sum(jobs.values())} jobs, {submissions(jobs)} submissions without failures")
    for job in ended.values():
        print(job["JobId"], job["JobState"], job["Tres"], job["StartTime"], job["EndTime"])
