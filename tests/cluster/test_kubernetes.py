"""profiles/kubernetes: what is asked of kubectl, which is a stand-in here. No Kubernetes was tried."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.provenance.conftest import ENVIRONMENT, write_project

PROFILE = ROOT / "profiles" / "kubernetes"
ASKED = ["--cpus", "2", "--mem-mb", "300", "--minutes", "7", "--gpus", "1"]


@pytest.fixture
def environment(tmp_path):
    """kubectl is the stand-in, whose Jobs are in tmp_path/jobs."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "jobs").mkdir()
    shutil.copy(Path(__file__).with_name("kubectl"), tmp_path / "bin" / "kubectl")
    return {
        **ENVIRONMENT,
        "PATH": f"{tmp_path / 'bin'}:{ENVIRONMENT['PATH']}",
        "KUBECTL": str(tmp_path / "jobs"),
        "STSCQ_IMAGE": "registry.example/stscq:1",
        "STSCQ_CLAIM": "faces",
        "STSCQ_VOLUME": str(tmp_path),
    }


def call(command, environment, **options):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)


def jobs(tmp_path):
    return [json.loads(file.read_text()) for file in sorted((tmp_path / "jobs").glob("*.json"))]


def test_what_a_job_asks_for_is_in_its_manifest(environment, tmp_path):
    (tmp_path / "script.sh").write_text("exit 0")
    done = call([PROFILE / "submit.py", *ASKED, "script.sh"], environment, cwd=tmp_path)
    assert done.stdout.strip() == "stscq-0", done.stderr
    spec = jobs(tmp_path)[0]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 7 * 60)
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    limits = {"memory": "300M", "nvidia.com/gpu": "1"}
    assert container["resources"] == {"requests": {"cpu": "2", **limits}, "limits": limits}
    assert (container["image"], container["workingDir"]) == ("registry.example/stscq:1", str(tmp_path))
    assert container["volumeMounts"] == [{"name": "project", "mountPath": str(tmp_path)}]
    assert pod["volumes"] == [{"name": "project", "persistentVolumeClaim": {"claimName": "faces"}}]


def test_what_is_not_said_is_asked_for_in_one_line(environment, tmp_path):
    del environment["STSCQ_CLAIM"]
    done = call([PROFILE / "submit.py", *ASKED, "script.sh"], environment, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "set STSCQ_CLAIM (docs/cluster.md)\n"


@pytest.mark.parametrize(
    ("conditions", "status"),
    [("", "running"), ("SuccessCriteriaMet Complete", "success"), ("FailureTarget Failed", "failed")],
)
def test_status(environment, tmp_path, conditions, status):
    (tmp_path / "jobs" / "stscq-0.json").write_text("{}")
    (tmp_path / "jobs" / "stscq-0.condition").write_text(conditions)
    assert call([PROFILE / "status", "stscq-0"], environment).stdout.strip() == status


def test_a_job_that_is_gone_has_failed_and_one_that_nobody_tells_of_has_not(environment):
    assert call([PROFILE / "status", "stscq-1"], environment).stdout.strip() == "failed"
    environment["KUBECTL"] = ""
    (Path(environment["PATH"].split(os.pathsep)[0]) / "kubectl").write_text("#!/bin/sh\nexit 1\n")
    assert call([PROFILE / "status", "stscq-1"], environment).stdout.strip() == "running"


@pytest.mark.slow
def test_jobs_run_and_one_without_memory_gets_more(environment, tmp_path):
    pytest.importorskip("snakemake_executor_plugin_cluster_generic", reason='pip install "stscq[cluster]"')
    (tmp_path / "project").mkdir()
    project = write_project(tmp_path / "project")
    made = "data/demo/splits/seed1/index.parquet"
    asks = 'resources={"prepare_faces": {"mem_mb": 100}, "prepare_split": {"mem_mb": 10}}'
    options = ["--profile", "profiles/kubernetes", "--seconds-between-status-checks", "1", "--config", asks]
    done = call(["snakemake", *options, "--", made], environment, cwd=project.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project.folder / made).exists()
    containers = [job["spec"]["template"]["spec"]["containers"][0] for job in jobs(tmp_path)]
    memory = [container["resources"]["limits"]["memory"] for container in containers]
    assert memory == ["100M", "200M"], "both rules are one group: tried, and tried again with more"
    assert "Nothing to be done" in call(["snakemake", *options, "--", made], environment, cwd=project.folder).stderr
