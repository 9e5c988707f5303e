"""Where a project may stand: folders with a blank in their names, no git, no HOME, other users, odd environments."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from stscq.checkpoint import load_checkpoint, load_tensors, save_checkpoint, save_tensors
from stscq.cli_tools import threads
from stscq.data.store import open_store
from stscq.errors import CheckpointError, DataError, StscqError
from stscq.files import check_permission
from stscq.provenance import commit
from stscq.provenance.commands import in_project
from tests.conftest import ROOT

FACES = "data/demo/faces/images.npy"
NOBODY = 65534


def archive(folder):
    """The project as a downloaded archive unpacks: no .git, nothing made."""
    folder.mkdir(parents=True)
    for name in ("Snakefile", "workflow", "config", "profiles", "params.yaml", "stscq"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def environment(folder, **more):
    """Of a process that runs the code of the copy."""
    return {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **more}


def python(folder, *arguments, executable=sys.executable, **more):
    return subprocess.run(
        [executable, *arguments],
        cwd=folder,
        env=environment(folder, **more),
        capture_output=True,
        text=True,
        check=False,
    )


def record_of(folder):
    return json.loads((folder / "data/demo/faces/prepare.run.json").read_text())


@pytest.mark.slow
def test_a_blank_in_the_path_no_git_and_no_home(tmp_path):
    """All at once, with the real thing: a job runs, its record says that there is no commit, `why` reads it."""
    folder = archive(tmp_path / "my own project")
    interpreter = tmp_path / "my own python" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", interpreter.parent.parent], check=True)
    packages = os.pathsep.join([str(folder), *(path for path in sys.path if path.endswith("site-packages"))])
    given = {"executable": interpreter, "HOME": "/dev/null", "PYTHONPATH": packages}
    given["GIT_CEILING_DIRECTORIES"] = str(tmp_path)
    run = python(folder, "-m", "snakemake", "--cores", "1", FACES, **given)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr.count("records: without a commit: no git: ") == 1
    assert record_of(folder)["git"] == {"commit": None, "dirty": None, "why": commit.NO_CHECKOUT}
    why = python(folder, "-m", "stscq.cli", "why", "data/demo/faces", **given)
    assert why.returncode == 0, why.stdout + why.stderr
    assert f"  commit    {commit.NO_CHECKOUT}\n" in why.stdout
    assert "current   yes" in why.stdout


def state_of(folder, monkeypatch, **more):
    monkeypatch.setattr(commit, "ROOT", folder / "stscq")
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    return commit.git_state()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    (folder / "stscq").mkdir(parents=True)
    (folder / "stscq" / "x.py").write_text("x = 1\n")
    for command in ("init -q", "add -A", "-c user.name=x -c user.email=a@b.c commit -qm x"):
        subprocess.run(["git", *command.split()], cwd=folder, check=True)
    return folder


def test_what_runs_write_is_no_change_of_the_code(checkout, monkeypatch):
    for place in ("stscq/tokenizers/x.json", "stscq/recognisers/x.json", "stscq/model/x.json", "results/x/x.csv"):
        (checkout / place).parent.mkdir(parents=True)
        (checkout / place).write_text("1")
    subprocess.run(["git", "add", "-A"], cwd=checkout, check=True)
    assert not state_of(checkout, monkeypatch)["dirty"]
    (checkout / "stscq/x.py").write_text("x = 2\n")
    assert state_of(checkout, monkeypatch)["dirty"]


def test_a_checkout_has_a_commit(checkout, monkeypatch, capsys):
    found = state_of(checkout, monkeypatch)
    assert len(found["commit"]) == 40
    assert found == {"commit": found["commit"], "dirty": False}
    assert commit.describe_commit(found) == found["commit"][:12]
    commit.tell_if_commit_is_unknown()
    assert capsys.readouterr().err == ""


def test_a_clone_of_another_user_says_what_to_type(checkout, monkeypatch, capsys):
    """By git's own switch for such tests, so that it needs no other user."""
    found = state_of(checkout, monkeypatch, GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert found["commit"] is None
    assert found["why"].startswith("git: detected dubious ownership in repository at ")
    assert found["why"].endswith(f"git config --global --add safe.directory {checkout}")
    commit.tell_if_commit_is_unknown()
    assert capsys.readouterr().err == f"records: without a commit: {found['why']}\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_clone_that_was_given_away(checkout, monkeypatch):
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    assert "safe.directory" in state_of(checkout, monkeypatch)["why"]


def test_an_archive_inside_another_checkout_does_not_take_its_commit(checkout, monkeypatch):
    (checkout / "unpacked").mkdir()
    assert state_of(checkout / "unpacked", monkeypatch)["why"] == "no git: the project is no checkout of its own"


def test_without_the_program_git(checkout, tmp_path, monkeypatch):
    found = state_of(checkout, monkeypatch, PATH=str(tmp_path))
    assert found["why"] == "no git: it cannot be started (No such file or directory)"


def test_a_clone_without_a_commit(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / "stscq").mkdir()
    assert "\n" not in state_of(tmp_path, monkeypatch)["why"]


@pytest.mark.slow
@pytest.mark.parametrize("locale", [{"LANG": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_locale_without_letters(tmp_path, locale):
    """Snakemake and our command, on parameters with a comment in letters that ASCII lacks."""
    folder = archive(tmp_path / "project")
    params = folder / "params.yaml"
    params.write_text(f"# für Jürgen\n{params.read_text(encoding='utf-8')}", encoding="utf-8")
    plain = dict.fromkeys(("LANG", "LC_ALL", "LC_CTYPE"), "")
    for command in (["-m", "snakemake", "-n", FACES], ["-m", "stscq.cli", "params"]):
        done = python(folder, *command, **{**plain, "PYTHONCOERCECLOCALE": "0", **locale})
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("said", "number"), [("4", 4), ("4,1", 4), (" 2 , 1 ", 2), ("", 7), ("  ", 7), (None, 7)])
def test_threads(said, number, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads(otherwise=7) == number


@pytest.mark.parametrize("said", ["x", "0", "-3", "1.5", ",2", "²"])
def test_no_number_of_threads_is_one_line(said, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    with pytest.raises(StscqError, match=f"OMP_NUM_THREADS={said}: no number of threads; set it"):
        threads(otherwise=1)


@pytest.mark.parametrize(
    "arguments",
    ["stscq.evaluation.count_cost --models {} --image-size 32 --rank 4", "stscq.cli compress nothing"],
)
def test_no_entry_point_breaks_on_odd_threads(tmp_path, arguments):
    done = python(tmp_path, "-m", *arguments.split(), "--out", "out", PYTHONPATH=str(ROOT), OMP_NUM_THREADS="x")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line and "libgomp" not in line]  # it says so as well
    assert lines == ["error: OMP_NUM_THREADS=x: no number of threads; set it to one from 1 on, or unset it"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_tensors_are_written_as_the_umask_says(tmp_path, umask, mode):
    left = tmp_path / ".partial-a.safetensors"
    left.write_text("of a run that was killed")
    left.chmod(0o600)
    before = os.umask(umask)
    try:
        save_tensors({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "a.safetensors").stat().st_mode & 0o777 == mode
    assert load_tensors(tmp_path / "a.safetensors")[0]["a"].tolist() == [0, 0]


def as_nobody(call):
    """What `call` raises where the process is no root: in a child, which gives its rights up."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setuid(NOBODY)
            call()
            said = "nothing"
        except Exception as problem:
            said = f"{type(problem).__name__}: {problem}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said


def open_folder(folder):
    """So that another user gets to the files: pytest's own folders are for one user."""
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.getuid() and place != Path("/"):
            place.chmod(place.stat().st_mode | 0o755)


@pytest.mark.parametrize("name", ["recipe.json", "weights.safetensors"])
def test_a_file_of_somebody_else_is_not_called_damaged(tmp_path, name):
    save_checkpoint(tmp_path, {"a": torch.zeros(2)}, {"x": 1})
    open_folder(tmp_path)
    (tmp_path / name).chmod(0)
    said = as_nobody(lambda: load_checkpoint(tmp_path))
    assert said == f"CheckpointError: {tmp_path / name}: no permission to read it; ask its owner for chmod a+r"


def test_a_store_of_somebody_else(faces, tmp_path):
    for file in faces.iterdir():
        shutil.copy(file, tmp_path)
    open_folder(tmp_path)
    (tmp_path / "images.npy").chmod(0)
    assert as_nobody(lambda: open_store(tmp_path)).startswith(f"DataError: {tmp_path}/images.npy: no permission")


def test_what_is_missing_or_may_be_read_is_left_to_the_reader(tmp_path):
    check_permission(tmp_path / "missing", DataError)
    (tmp_path / "there").write_text("x")
    check_permission(tmp_path / "there", DataError)
    with pytest.raises(CheckpointError, match="missing or damaged"):
        load_tensors(tmp_path / "there")


def test_a_record_is_called_as_snakemake_calls_it(tmp_path, monkeypatch):
    """data may be a link to a larger disk."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch" / "demo").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "scratch")
    record = Path("data/demo/faces/prepare.run.json")
    assert in_project(record) == record
    assert in_project(tmp_path / record) == record
    for elsewhere in ("stscq/tokenizers/ibq.run.json", "../data/demo/x.run.json", "x.run.json"):
        with pytest.raises(StscqError, match="no run of a profile wrote it here"):
            in_project(Path(elsewhere))
