"""A project of its own, small enough to run whole: one backbone, one seed, two steps a stage. Made once and copied."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from stscq.params import merge
from tests.conftest import ROOT

GONE = ["token_specific", "unequal_4_bits", "unequal_4_bits_effort"]
OVERLAY = {
    "seeds": [1],
    "measure_cost": [],
    "peers": [],
    "data": {"size": 32, "test_people": 4, "folds": 2},
    "recogniser": {"published_weights": None, "steps": 2},
    "stage1_tokenizer": {"steps": 2, "continuous_steps": 1},
    "latents": {"copies": 1},
    "stage1_codebooks": {"steps": 2},
    "stage2": {"steps": 2},
    "stage3": {"steps": 2},
    "backbones": {
        **dict.fromkeys(["titok_s", "titok_l", "ibq"]),
        "maskgit_vqgan": {"published_weights": None, "variants": dict.fromkeys(GONE)},
    },
}
ENVIRONMENT = {
    # As on a user's machine: bytecode is kept.
    **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
}


class Project:
    """A checkout. Commands run in it as a user would type them."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def run(self, command, check=True):
        """Output of a shell command, both streams."""
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        said = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"{command}: {said[-3000:]}"
        return said

    def fails(self, command):
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0, f"{command} should have failed"
        return done.stdout + done.stderr

    def jobs(self, *options, target="all"):
        """Rule -> number of jobs that snakemake would run now; empty when there is nothing to do."""
        said = self.run(f"snakemake -n --cores 2 {target} {' '.join(options)}")
        if "Nothing to be done" in said:
            return {}
        table = said.split("Job stats:")[1].split("total")[0].splitlines()
        found = {line.split()[0]: int(line.split()[1]) for line in table if line.strip() and line.split()[1].isdigit()}
        return {rule: n for rule, n in found.items() if rule != "all"}

    def stale(self):
        """Is DVC's stage with all jobs to be run, the digests of data sets brought up to date?"""
        self.run("dvc repro -q -s sources")
        said = self.run("dvc status --json", check=False)
        return "workflow" in yaml.safe_load(said[said.index("{") :])

    def snapshot(self):
        """Path -> state of every file, Snakemake's included; not of remembered hashes and bytecode."""
        spare = {".stscq", "__pycache__"}
        files = [path for path in self.folder.rglob("*") if path.is_file() and not spare & set(path.parts)]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size, path.stat().st_ino) for path in files}

    def edit(self, path, old, new):
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1))

    def params(self, **change):
        file = self.folder / "params.yaml"
        file.write_text(yaml.safe_dump(merge(yaml.safe_load(file.read_text()), change), sort_keys=False))

    def contents(self):
        """Path -> bytes of what is computed, without records, curves and costs: they hold times."""
        found = {}
        for top in ("data", "models", "results"):
            for file in sorted((self.folder / top).rglob("*")):
                if file.is_relative_to(self.folder / "data" / "sources"):
                    continue  # DVC's digests of data sets outside, which a plain Snakemake does not write
                if file.is_file() and not file.name.endswith(
                    (".run.json", "log.jsonl", "training_cost.csv", "report.html")
                ):
                    found[str(file.relative_to(self.folder))] = file.read_bytes()
        return found


def keep_few(rules):
    """Two tables, two figures, no models of symbols, no redundancy, no trials: what is tested needs no more."""
    for name, before, line in (
        ("report", "SUMMARY = [", "TABLES, FIGURES = TABLES[:2], FIGURES[:2]"),
        ("int8", "rule evaluate_int8:", "INT8 = []"),
        ("symbols", "rule model_symbols:", "SYMBOLS = []"),
        ("redundancy", "rule redundancy:", "SWITCHABLE = []"),
        ("trials", "rule answer:", 'TRIALS["backbones"] = []'),
    ):
        text = (rules / f"{name}.smk").read_text()
        assert before in text
        (rules / f"{name}.smk").write_text(text.replace(before, f"{line}\n\n\n{before}", 1))


def write_project(folder):
    for name in ("Snakefile", "workflow", "profiles", "config", "stscq", "dvc.yaml", ".gitignore", ".dvcignore"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    keep_few(folder / "workflow" / "rules")
    params = merge(yaml.safe_load((ROOT / "params.yaml").read_text()), OVERLAY)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    project = Project(folder)
    project.run("git init -q && git config user.email a@b.c && git config user.name x")
    project.run("dvc init -q && dvc config core.analytics false")
    project.run("git add -A && git commit -qm code")
    return project


@pytest.fixture(scope="session")
def made(tmp_path_factory, worker_id):
    """Run by snakemake, recorded by dvc, committed, and pushed to a remote beside it; by one worker for all."""
    alone = worker_id == "master"
    folder = (tmp_path_factory.getbasetemp() if alone else tmp_path_factory.getbasetemp().parent) / "made"
    with FileLock(f"{folder}.lock"):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            (folder / "project").mkdir(parents=True)
            project = write_project(folder / "project")
            project.run("snakemake --cores 2 all")
            project.run("dvc repro -q")
            project.run(f"dvc remote add -q -d store {folder / 'store'} && dvc push -q")
            project.run("git add -A && git commit -qm results")
            (folder / "complete").touch()
    return Project(folder / "project")


@pytest.fixture
def project(made, tmp_path):
    """A copy that may be spoilt, with times and notes of Snakemake as they were."""
    subprocess.run(["cp", "-a", made.folder, tmp_path / "project"], check=True)
    return Project(tmp_path / "project")


@pytest.fixture
def clone(made, tmp_path):
    """A fresh clone after `dvc pull`: no notes of Snakemake, times in the order of the pull."""
    subprocess.run(["git", "clone", "-q", made.folder, tmp_path / "clone"], check=True)
    clone = Project(tmp_path / "clone")
    clone.run("dvc pull -q")
    return clone
