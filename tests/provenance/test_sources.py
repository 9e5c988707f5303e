"""A photo more, another one or one less, in every kind of data set: what was made of it is no longer current.

The programs are replaced by one that writes empty files: what is tested is who is called, and when.
"""

import json

import pytest

from tests.provenance.conftest import Project, write_project

pytestmark = pytest.mark.provenance
STAND_IN = """#!/bin/sh
while [ "$1" != --out ]; do shift; done
touch "$2/images.npy" "$2/index.parquet" "$2/pairs.parquet" "$2/prepare.run.json"
"""
FILES = {
    "people": ["ann/1.jpg", "ann/2.jpg", "bob/1.jpg"],
    "records": ["train.rec", "train.idx", "property"],
    "pack.bin": [""],
    "rfw": ["images/Asian/p/1.jpg", "txts/Asian/pairs.txt"],
    "imagenet": ["n01/1.JPEG", "n01/2.JPEG", "n02/1.JPEG"],
}
PARAMS = {
    "data": {"source": "sources/people"},
    "sets": {
        "records": {"kind": "images", "source": "sources/records"},
        "pack": {"kind": "pack", "source": "sources/pack.bin"},
        "rfw": {"kind": "rfw", "group": "Asian", "source": "sources/rfw"},
        "imagenet": {"kind": "images", "source": "sources/imagenet"},
    },
    "evaluate_on": ["test", "pack", "rfw"],
}
TARGETS = {
    "people": "faces",
    "pack.bin": "sets/pack",
    **{name: f"sets/{name}" for name in ("records", "rfw", "imagenet")},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    project = write_project(folder)
    (folder / "prepare").write_text(STAND_IN)
    (folder / "prepare").chmod(0o755)
    stand_in = f"PYTHON = {str(folder / 'prepare')!r}"
    project.edit("workflow/rules/common.smk", "PYTHON = shlex.quote(sys.executable)", stand_in)
    project.params(**PARAMS)
    for place, names in FILES.items():
        for name in names:
            file = folder / "sources" / place / name if name else folder / "sources" / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{place} {name}")
    project.run(f"snakemake --cores 1 {targets()}")
    return project


def targets():
    return " ".join(f"data/demo/{target}/index.parquet" for target in TARGETS.values())


def to_be_made(project):
    """Names of the sources whose stores snakemake would make again."""
    said = project.run(f"snakemake -n --cores 1 {targets()}")
    return {place for place, target in TARGETS.items() if f"output: data/demo/{target}/" in said}


def digests(project):
    project.run("python -m stscq.cli sources --out digests.json")
    return json.loads((project.folder / "digests.json").read_text())


@pytest.mark.parametrize("place", FILES)
def test_a_changed_source_is_noticed(made: Project, place):
    assert to_be_made(made) == set()
    known = digests(made)
    name = FILES[place][0]
    file = made.folder / "sources" / place / name if name else made.folder / "sources" / place
    before = file.read_text()
    file.write_text(before.swapcase())  # as many bytes
    assert to_be_made(made) == {place}
    assert (digests(made) != known) == (f"sources/{place}" in known)
    file.write_text(before)
    assert to_be_made(made) == set()
    assert digests(made) == known
    if len(FILES[place]) > 1:
        file.unlink()
        assert to_be_made(made) == {place}
        file.write_text(before)
    if place not in ("pack.bin", "records"):
        further = file.with_name(f"9{file.suffix}")
        further.write_text("another photo")
        assert to_be_made(made) == {place}
        further.unlink()
    assert to_be_made(made) == set()


def test_a_data_set_that_is_not_on_this_machine_has_not_changed(made: Project):
    made.run("mv sources elsewhere")
    assert to_be_made(made) == set()
    made.run("mv elsewhere sources")
