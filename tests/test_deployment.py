"""Workflows of GitHub, images for GPU nodes, profiles of clusters: what they name is there. None of them runs here."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROFILES = sorted(path.parent.name for path in (ROOT / "profiles").glob("*/config.yaml"))
DOCKERFILE, DEFINITION = (ROOT / "Dockerfile").read_text(), (ROOT / "stscq.def").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def commands(workflow):
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]


def copied():
    """What the Dockerfile takes from the project."""
    return [path for line in re.findall(r"^COPY (.*)$", DOCKERFILE, flags=re.MULTILINE) for path in line.split()[:-1]]


def test_every_target_and_extra_that_is_called_exists():
    workflows = [yaml.safe_load(file.read_text()) for file in WORKFLOWS]
    assert len(workflows) == 2
    called = "\n".join([*(run for one in workflows for run in commands(one)), DOCKERFILE, DEFINITION])
    tests = workflows[[file.stem for file in WORKFLOWS].index("tests")]["jobs"]["tests"]
    matrix = tests["strategy"]["matrix"]["target"]
    targets = {*re.findall(r"make ([a-z][a-z-]*)", called), *matrix}
    assert {"environment", "lint", "test", "smoke", "slurm"} <= targets <= TARGETS
    extras = {extra for names in re.findall(r"\.\[([a-z0-9,-]+)\]", called) for extra in names.split(",")}
    assert {"cluster", "s3", "s3-test"} <= extras <= EXTRAS


def test_the_code_of_pull_requests_has_nothing_to_write_to():
    gpu = yaml.safe_load((ROOT / ".github/workflows/gpu.yml").read_text())
    assert gpu["permissions"] == {"contents": "read"}
    assert "permissions" not in gpu["jobs"]["regenerate"]
    assert "head.repo.full_name == github.repository" in gpu["jobs"]["regenerate"]["if"]
    assert not any("checkout" in step.get("uses", "") for step in gpu["jobs"]["tell"]["steps"])


def test_pictures_of_test_people_stay_with_whoever_runs_it():
    gpu = yaml.safe_load((ROOT / ".github/workflows/gpu.yml").read_text())
    uploads = [step for step in gpu["jobs"]["regenerate"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert ["!results/*/test_people" in step["with"]["path"] for step in uploads] == [True]


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="no actionlint")
def test_actionlint():
    done = subprocess.run(["actionlint", *WORKFLOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_both_images_are_of_one_base_and_one_content():
    tag, digest = re.search(r"^FROM python:(\S+)@(sha256:[0-9a-f]{64})$", DOCKERFILE, flags=re.MULTILINE).groups()
    assert f"# {tag}: " in DEFINITION
    assert f"From: python@{digest}\n" in DEFINITION
    files = re.search(r"%files\n(.*?)\n\n", DEFINITION, flags=re.DOTALL)[1].split("\n")
    assert [line.split() for line in files] == [[path, f"/opt/stscq/{path}"] for path in copied()]
    said = (ROOT / ".dockerignore").read_text().splitlines()
    assert sorted(line[1:] for line in said if line.startswith("!")) == sorted(copied())


@pytest.mark.slow
def test_what_the_image_takes_is_enough_to_install_the_package(tmp_path):
    for path in copied():
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / path, tmp_path / path)
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*pip, "--target", tmp_path / "site", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "stscq" / "model" / "bundle.json").exists()
    said = subprocess.run(["make", "-n", "environment"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "requirements/install.py" in said.stdout


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_name_rules_that_there_are(profile):
    settings = yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())
    text = "\n".join(file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk"))
    rules = {*re.findall(r"^rule (\w+):", text, flags=re.MULTILINE), *re.findall(r" as (\w+) with:", text)}
    named = {re.split("[=:]", one)[0] for key in ("groups", "set-resources") for one in settings.get(key, [])}
    assert named <= rules
    groups = {one.split("=")[1] for one in settings.get("groups", [])}
    assert {one.split("=")[0] for one in settings.get("group-components", [])} <= groups
    for key in ("submit-cmd", "status-cmd", "cancel-cmd"):
        if program := settings.get(f"cluster-generic-{key}", "").split(" ")[0]:
            assert (ROOT / program).stat().st_mode & 0o111


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_profiles_list_every_job_without_a_cluster(profile, tmp_path):
    executor = {"slurm": "slurm", "kubernetes": "cluster_generic"}[profile]
    pytest.importorskip(f"snakemake_executor_plugin_{executor}", reason='pip install "stscq[cluster]"')
    for name in ("Snakefile", "workflow", "config", "profiles", "params.yaml", "stscq"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [Path(sys.executable).with_name("snakemake"), "-n", "--profile", f"profiles/{profile}", "--", "all"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "stage3" in (done.stdout + done.stderr).split("Job stats:")[1]
