"""kill -9 at random moments; then one documented command, and the results of an unbroken run."""

import os
import random
import signal
import subprocess
import time

import pytest

from tests.provenance.conftest import ENVIRONMENT, Project, write_project

TIMES = int(os.environ.get("STSCQ_KILLS", "3"))
"""20 by hand: STSCQ_KILLS=20 make provenance."""
pytestmark = pytest.mark.provenance


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fresh") / "project"
    folder.mkdir()
    return write_project(folder)


def test_dvc_from_nothing_and_again(made, fresh, tmp_path):
    subprocess.run(["cp", "-a", fresh.folder, tmp_path / "project"], check=True)
    project = Project(tmp_path / "project")
    project.run("dvc repro")
    assert project.contents() == made.contents()
    assert "Stage 'workflow' didn't change" in project.run("dvc repro")
    assert project.jobs() == {}


@pytest.mark.parametrize("command", ["snakemake --cores 2 all", "dvc repro"])
@pytest.mark.parametrize("number", range(TIMES))
def test_13_killed_and_run_again(made, fresh, tmp_path, command, number):
    if command.startswith("dvc") and number > max(0, TIMES // 3 - 1):
        pytest.skip("dvc starts the same snakemake: fewer times")
    subprocess.run(["cp", "-a", fresh.folder, tmp_path / "project"], check=True)
    project = Project(tmp_path / "project")
    process = subprocess.Popen(
        command.split(), cwd=project.folder, env=ENVIRONMENT, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(random.Random(number).uniform(5, 70))
    os.kill(process.pid, signal.SIGKILL)  # this process alone: its jobs go on, as orphans
    process.wait()
    # What docs/provenance.md says to do after a kill.
    project.run("snakemake --cores 2 all --unlock")
    project.run("snakemake --cores 2 all")
    assert project.jobs() == {}
    assert project.contents() == made.contents()
    project.run("dvc repro -q")
    assert not project.stale()
