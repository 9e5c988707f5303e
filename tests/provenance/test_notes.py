"""Snakemake's notes and DVC on four small rules, whose programs are lines of shell: what is called current, and when.

The whole workflow stands before the same traps in test_traps.py.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from stscq.hashes import sha256_of
from tests.conftest import ROOT
from tests.provenance.conftest import ENVIRONMENT

pytestmark = pytest.mark.provenance
SNAKEFILE = """
from pathlib import Path
from stscq.provenance.notes import keep_notes

configfile: "params.yaml"
PROFILE = config["profile"]
DATA, MODELS, RESULTS = f"data/{PROFILE}", f"models/{PROFILE}", f"results/{PROFILE}"
keep_notes(PROFILE)
CODE = Path("code.txt").read_text()

rule all:
    input:
        f"{DATA}/faces/images.npy",
        expand(f"{MODELS}/{{n}}/seed{{seed}}/{{file}}", n=["one", "two"], seed=config["seeds"], file=["w", "record"]),
        f"{RESULTS}/table.json",

rule prepare:
    input: [ancient(config["source"])] if Path(config["source"]).exists() else []
    output: f"{DATA}/faces/images.npy", f"{DATA}/faces/index"
    params: flags=str(config["size"])
    shell: "(echo {params.flags}; find {config[source]} -type f | sort | xargs cat) | tee {output[1]} > {output[0]}"

rule one:
    input: rules.prepare.output
    output: f"{MODELS}/one/seed{{seed}}/w", f"{MODELS}/one/seed{{seed}}/record"
    params: code=CODE, flags=str(config["one"])
    shell: "cat {input} | sha256sum > {output[0]}; echo {params.flags} >> {output[0]}; date +%N > {output[1]}"

rule two:
    input: f"{MODELS}/one/seed{{seed}}/w"
    output: f"{MODELS}/two/seed{{seed}}/w", f"{MODELS}/two/seed{{seed}}/record"
    params: code="x", flags=str(config["two"])
    shell: "cat {input} > {output[0]}; echo {params.flags} >> {output[0]}; date +%N > {output[1]}"

rule table:
    input: expand(rules.two.output[0], seed=config["seeds"])
    output: f"{RESULTS}/table.json"
    shell: "cat {input} | cksum | cut -d' ' -f1 > {output}"
"""
PARAMS = {
    "profile": "demo",
    "seeds": [1, 2],
    "source": "people",
    "size": 4,
    "one": {"lr": 1, "wd": 2},
    "two": {"lr": 3},
}
AFTER_ONE = {"one": 2, "two": 2, "table": 1}
AFTER_TWO = {"two": 2, "table": 1}
ALL = {"prepare": 1, **AFTER_ONE}


class Toy:
    def __init__(self, folder: Path):
        self.folder = folder

    def call(self, command):
        """Code and output of a shell command, both streams."""
        environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def start(self, command):
        """The same in the background; its output can be read line by line."""
        environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, shell=True, cwd=self.folder, env=environment, **streams)

    def run(self, *commands):
        said = ""
        for command in commands:
            code, text = self.call(command)
            assert code == 0, f"{command}: {text[-2000:]}"
            said += text
        return said

    def jobs(self, *options):
        """Rule -> number of jobs that snakemake would run now."""
        said = self.run(" ".join(["snakemake -n --cores 1 all", *options]))
        if "Nothing to be done" in said:
            return {}
        rows = [line.split() for line in said.split("Job stats:")[1].split("total")[0].splitlines()]
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit() and row[0] != "all"}

    def params(self, **change):
        (self.folder / "params.yaml").write_text(yaml.safe_dump({**PARAMS, **change}))

    def write(self, name, text):
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def stale(self):
        """Does DVC find anything but what is always looked at?"""
        code, said = self.call("dvc status --json")
        assert code == 0, said
        return "workflow" in yaml.safe_load(said[said.index("{") :])

    def snapshot(self):
        files = [path for path in self.folder.rglob("*") if path.is_file() and ".stscq" not in path.parts]
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size, path.stat().st_ino) for path in files}

    def contents(self):
        files = [path for path in self.folder.rglob("w") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_text() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy") / "project"
    toy = Toy(folder)
    for name, text in {
        "Snakefile": SNAKEFILE,
        "code.txt": "a",
        ".gitignore": "/data\n/models\n/.snakemake\n/.stscq\n",
    }.items():
        toy.write(name, text)
    for name in ("ann/1.jpg", "ann/2.jpg", "bob/1.jpg"):
        toy.write(f"people/{name}", f"photo {name}")
    toy.params()
    toy.run(f"cp -r {ROOT}/profiles {ROOT}/.dvcignore .")
    dvc = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    dvc["stages"]["sources"]["cmd"] = "mkdir -p data/sources; find people | sort > data/sources/${profile}.json"
    dvc["stages"]["workflow"]["deps"] = ["Snakefile", "code.txt", "data/sources/${profile}.json"]
    toy.write("dvc.yaml", yaml.safe_dump({"stages": dvc["stages"]}))
    toy.run("git init -q -b main", "git config user.email a@b.c", "git config user.name x", "dvc init -q")
    toy.run(
        "snakemake --cores 1 all",
        "dvc repro -q",
        f"dvc remote add -q -d store {folder.parent / 'store'}",
        "dvc push -q",
    )
    toy.run("git add -A", "git commit -qm results")
    return toy


@pytest.fixture
def toy(made, tmp_path):
    subprocess.run(["cp", "-a", made.folder, tmp_path / "project"], check=True)
    return Toy(tmp_path / "project")


@pytest.fixture
def clone(made, tmp_path):
    subprocess.run(["git", "clone", "-q", made.folder, tmp_path / "clone"], check=True)
    clone = Toy(tmp_path / "clone")
    clone.run("dvc pull -q")
    return clone


def test_nothing_to_do_after_a_run(toy):
    assert toy.jobs() == {}
    assert not toy.stale()
    assert "Stage 'workflow' didn't change" in toy.run("dvc repro")


def test_1_and_2_numbers_and_code_run_what_they_concern(toy):
    toy.params(one={"lr": 2, "wd": 1})
    assert toy.jobs() == AFTER_ONE
    assert toy.stale()
    toy.params(two={"lr": 4})
    assert toy.jobs() == AFTER_TWO
    toy.params()
    assert toy.jobs() == {}
    toy.write("code.txt", "b")
    assert toy.jobs() == AFTER_ONE
    assert toy.stale()


def test_3_a_clone_after_a_pull(clone):
    assert clone.jobs() == {}
    assert not clone.stale()
    clone.params(two={"lr": 4})
    assert clone.jobs() == AFTER_TWO


def test_3_whatever_the_times(clone):
    for number, file in enumerate(sorted(clone.folder.glob("[dmr]*/demo/**/*"), reverse=True)):
        os.utime(file, ns=(number * 10**9, number * 10**9))
    assert clone.jobs() == {}


def test_4_an_edit_before_anything_else_runs_in_dvc(clone):
    clone.params(two={"lr": 4})
    said = clone.run("dvc repro")
    assert "rule two:" in said
    assert "rule one:" not in said
    assert "4" in clone.contents()["models/demo/two/seed1/w"]
    assert clone.jobs() == {}
    assert not clone.stale()


def test_5_an_old_model_that_dvc_brings_back(toy):
    toy.params(two={"lr": 4})
    toy.run("snakemake --cores 1 all")
    new = toy.contents()
    toy.run("dvc checkout -q --force")
    assert toy.jobs() == AFTER_TWO
    toy.run("snakemake --cores 1 all", "dvc commit -q --force", "git add -A", "git commit -qm new")
    assert toy.contents() == new
    toy.run("rm -rf data models .dvc/cache/runs", "dvc checkout -q --force")
    assert toy.contents() == new
    assert toy.jobs() == {}


@pytest.mark.parametrize("part", ["models/demo", ".snakemake/metadata/demo"])
def test_5_files_without_their_notes(toy, part):
    toy.params(two={"lr": 4})
    toy.run("snakemake --cores 1 all", f"dvc checkout -q --force {part}")
    assert toy.jobs() == AFTER_TWO


def test_5_results_of_another_commit_come_and_go_with_it(toy):
    toy.params(two={"lr": 4})
    toy.run("dvc repro -q", "git add -A", "git commit -qm new")
    for commit in ("HEAD~1", "main"):
        toy.run(f"git checkout -q {commit}", "dvc checkout -q")
        assert toy.jobs() == {}
        assert not toy.stale()


def test_5_another_input_with_an_old_time(toy):
    """As a hard link into DVC's cache has it, or a copy that keeps times."""
    file = toy.folder / "models/demo/one/seed1/w"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    toy.params(one={"lr": 9, "wd": 2})
    toy.run("snakemake --cores 1 models/demo/one/seed1/w")  # its user has not run
    os.utime(file, ns=times)
    assert toy.jobs() == {"one": 1, "two": 2, "table": 1}


def test_6_and_10_snakemake_first_and_then_dvc(toy):
    toy.params(two={"lr": 4})
    toy.run("snakemake --cores 1 all")
    for expected in ("Nothing to be done", "Stage 'workflow' didn't change"):
        assert expected in toy.run("dvc repro")
    toy.run("dvc commit -q --force")
    assert toy.jobs() == {}
    assert not toy.stale()


def test_7_a_clone_without_models(made, tmp_path):
    clone = Toy(tmp_path / "bare")
    made.run(f"git clone -q . {clone.folder}")
    assert (clone.folder / "results/demo/table.json").is_file()
    assert clone.jobs() == ALL
    clone.run("dvc pull -q")
    assert clone.jobs() == {}


@pytest.mark.parametrize("damage", ["delete", "truncate", "same size and time"])
def test_8_and_12_outputs_changed_by_hand(toy, damage):
    file = toy.folder / "models/demo/one/seed1/w"
    content, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.unlink()
    if damage != "delete":
        file.write_bytes(content[:-9] if damage == "truncate" else content[:-2] + b"#\n")
        os.utime(file, ns=times)
    assert toy.jobs() == {"one": 1, "two": 1, "table": 1}
    toy.run("snakemake --cores 1 all")
    assert file.read_bytes() == content
    assert toy.jobs() == {}


def test_8_touch_calls_nothing_current(toy):
    toy.params(two={"lr": 4})
    toy.run("snakemake --cores 1 --touch --forceall all")
    assert toy.jobs() == AFTER_TWO
    toy.params()
    assert toy.jobs() == {}


def test_9_a_dropped_seed_that_comes_back(toy):
    before = toy.contents()
    toy.params(seeds=[1])
    assert toy.jobs() == {"table": 1}
    toy.run("dvc repro -q")
    assert toy.contents() == before
    toy.params(seeds=[1], two={"lr": 4})
    toy.run("dvc repro -q")
    toy.params(two={"lr": 4})
    assert toy.jobs() == {"two": 1, "table": 1}


def test_13_a_job_killed_on_its_way_runs_again(toy):
    toy.run("snakemake --cores 1 --cleanup-metadata models/demo/two/seed1/w models/demo/two/seed1/record")
    assert toy.jobs() == {"two": 1, "table": 1}


def test_20_a_rule_that_names_a_further_output(toy):
    text = (toy.folder / "Snakefile").read_text()
    toy.write("models/demo/two/seed1/more", "written before it was named")
    toy.write("models/demo/two/seed2/more", "written before it was named")
    named = text.replace('/two/seed{{seed}}/record"', '/two/seed{{seed}}/record", f"{MODELS}/two/seed{{seed}}/more"')
    assert named != text
    toy.write("Snakefile", named.replace('code="x"', 'code="y"'))
    assert toy.jobs() == AFTER_TWO


@pytest.mark.parametrize("change", ["add", "replace", "delete"])
def test_a_changed_data_set_runs_all(toy, change):
    photo = toy.folder / "people/ann/1.jpg"
    text, times = photo.read_text(), (photo.stat().st_atime_ns, photo.stat().st_mtime_ns)
    if change == "add":
        toy.write("people/ann/3.jpg", "another")
    elif change == "replace":
        photo.write_text(text.swapcase())
        os.utime(photo, ns=times)
    else:
        photo.unlink()
    assert toy.jobs() == ALL
    toy.run("rm -f people/ann/3.jpg")
    photo.write_text(text)
    assert toy.jobs() == {}


def test_a_data_set_that_is_not_on_this_machine_has_not_changed(clone):
    clone.run("mv people ../elsewhere")
    assert clone.jobs() == {}


def test_a_dry_run_changes_nothing(toy):
    before = toy.snapshot()
    for _ in range(2):
        assert toy.jobs() == {}
        assert toy.snapshot() == before
    toy.params(two={"lr": 4})
    (toy.folder / "models/demo/one/seed1/record").touch()
    before = toy.snapshot()
    assert toy.jobs() == AFTER_TWO
    assert toy.snapshot() == before
    toy.params()
    assert toy.jobs() == {}


def test_an_output_moved_away_and_put_back_costs_nothing(toy):
    toy.run("mv models/demo/one ../one")
    assert toy.jobs() == AFTER_ONE
    toy.run("mv ../one models/demo/one")
    assert toy.jobs() == {}


def test_profiles_do_not_meet(toy):
    toy.run("snakemake --cores 1 all --config profile=other")
    assert toy.jobs() == {}
    assert toy.jobs("--config profile=other") == {}
    assert not toy.stale()
    toy.run("rm -r data/demo .snakemake/metadata/demo")
    assert toy.jobs("--config profile=other") == {}


def test_a_file_is_read_once_a_change(tmp_path, monkeypatch):
    file, cache, reads = tmp_path / "large", tmp_path / "hashes.sqlite", []
    file.write_bytes(b"large")
    digest = sys.modules["hashlib"].file_digest
    monkeypatch.setattr(
        "hashlib.file_digest", lambda stream, name: (reads.append(stream.name), digest(stream, name))[1]
    )
    for _ in range(4):
        sha256_of([file, tmp_path / "folder"] if (tmp_path / "folder").exists() else [file], cache)
    assert len(reads) == 1
    file.write_bytes(b"other")
    assert sha256_of([file], cache) == sha256_of([file], cache)
    assert len(reads) == 2


def test_two_snakemakes_do_not_meet(toy):
    """A killed DVC leaves one behind: after --unlock the next one waits for it, and a dry run only looks on."""
    toy.params(two={"lr": 5})
    with FileLock(toy.folder / ".snakemake/demo.running"):  # in the place of a Snakemake that works
        assert toy.jobs() == AFTER_TWO
        later = toy.start("snakemake --cores 2 all")
        said = ""
        while "another Snakemake is running here" not in said:
            said = later.stdout.readline()
            assert said, "it ended without waiting"
        assert said.startswith("profile demo: ")
        assert later.poll() is None
        shutil.rmtree(toy.folder / ".snakemake/locks")  # as the other one does at its end
    later.communicate()
    assert later.returncode == 0
    assert toy.jobs() == {}
