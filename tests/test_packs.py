"""Packs of a run's numbers: what is in them and what is not, and what a foreign or damaged one can do."""

import hashlib
import json
import tracemalloc
import zipfile
from pathlib import Path, PurePosixPath

import pandas as pd
import pytest
from filelock import FileLock
from snakemake.persistence.file import FilePersistence
from typer.testing import CliRunner

from stscq import cli
from stscq.provenance import packs
from stscq.provenance.numbers import note_place, read_note
from stscq.provenance.packs import PackError, pack, unpack

EVALUATION = "data/demo/evaluation/titok_s/global/test/seed1"
RECORD = "models/demo/titok_s/stage2/global/seed1/stage2.run.json"
PACKED = [
    "data/demo/coded_portraits/titok_s/global.npz",
    "data/demo/evaluation/original/test/seed1/embeddings.npy",
    f"{EVALUATION}/metrics.json",
    f"{EVALUATION}/pairs.parquet",
    "models/demo/titok_s/stage2/global/seed1/log.jsonl",
    RECORD,
]
KEPT_BACK = [
    "data/demo/faces/images.npy",
    "data/demo/faces/index.parquet",
    "data/demo/sheets/titok_s.npz",
    "data/demo/summary/values.parquet",
    f"{EVALUATION}/files.parquet",
    f"{EVALUATION}/sheet.npy",
    "data/other/cost/cost.csv",
    "models/demo/titok_s/stage2/global/seed1/recipe.json",
    "models/demo/titok_s/stage2/global/seed1/weights.safetensors",
]
WITHOUT_A_NOTE = f"{EVALUATION}/group_pairs.parquet"


def write(folder, name, content=None, note=True):
    """A file as a job leaves it; its content is its name, if nothing else is said."""
    content = name if content is None else content
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content)
    if note:
        place = folder / place_of_note(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(note_on(name, content))


def place_of_note(name):
    return note_place(PurePosixPath(name))


def note_on(name, content):
    checksum = f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
    return json.dumps({"shellcmd": "/home/somebody/.venv/bin/python", "input_checksums": {name: checksum}})


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    for name in (*PACKED, *KEPT_BACK):
        write(folder, name)
    write(folder, WITHOUT_A_NOTE, note=False)
    (folder / "Snakefile").touch()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def demo(project, tmp_path, monkeypatch):
    """A pack of the project; we are in an empty project beside it."""
    pack("demo", tmp_path / "demo.zip")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("Snakefile").touch()
    return tmp_path / "demo.zip"


def files_here():
    found = (path.as_posix() for path in Path().rglob("*") if path.is_file())
    return sorted(name for name in found if name != "Snakefile" and not name.endswith(".running"))


def test_numbers_and_notes_come_along_and_pictures_weights_and_paths_do_not(demo):
    assert unpack([demo]) == len(PACKED)
    notes = [place_of_note(name) for name in (*PACKED, *KEPT_BACK) if "/other/" not in name]
    assert files_here() == sorted([*PACKED, *map(str, notes)])
    assert all(Path(name).read_text() == name for name in PACKED)
    assert json.loads(notes[0].read_text())["shellcmd"] is None
    assert len({Path(name).stat().st_mtime for name in PACKED}) == 1  # nothing is newer than what is made of it
    assert unpack([demo]) == 0


def test_notes_are_where_snakemake_looks_for_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keeper = FilePersistence.__new__(FilePersistence)  # its __init__ wants a whole workflow
    keeper._max_len = None
    for name in (EVALUATION, f"data/demo/evaluation/{'x' * 400}/{'y' * 200}.json"):
        (tmp_path / ".snakemake" / "metadata" / "demo").mkdir(parents=True, exist_ok=True)
        assert str(place_of_note(name)) == keeper._record_path(".snakemake/metadata/demo", name)


def test_long_names_find_their_notes_again(project, tmp_path):
    write(project, long := f"data/demo/evaluation/{'x' * 100}/{'y' * 100}/metrics.json")
    (project / ".snakemake" / "metadata" / "demo" / ".partial-x").touch()  # of a kill
    assert pack("demo", tmp_path / "x.zip") == len(PACKED) + 1
    with zipfile.ZipFile(tmp_path / "x.zip") as found:
        assert {long, f"notes/{long}"} <= set(found.namelist())


def test_the_same_numbers_give_the_same_file_and_a_second_pack_has_the_rest(project, tmp_path):
    first, again, rest = (tmp_path / name for name in ("first.zip", "again.zip", "rest.zip"))
    assert pack("demo", first) == pack("demo", again) == len(PACKED)
    assert first.read_bytes() == again.read_bytes()
    with pytest.raises(PackError, match=r"rest\.zip: nothing to pack: no numbers of profile demo"):
        pack("demo", rest, [first])
    write(project, WITHOUT_A_NOTE)
    assert pack("demo", rest, [first]) == 1
    with zipfile.ZipFile(rest) as found:
        assert found.namelist() == [WITHOUT_A_NOTE, f"notes/{WITHOUT_A_NOTE}"]


def test_what_is_being_written_is_not_packed(project, tmp_path):
    (project / PACKED[-2]).write_text("new, with the note of what was there before")
    assert pack("demo", tmp_path / "x.zip") == len(PACKED) - 1


@pytest.mark.parametrize(("column", "packed"), [("ids", 1), ("embedding", 0)])
def test_embeddings_of_compressed_pictures_stay_where_they_are(project, tmp_path, column, packed):
    name = f"{EVALUATION}/images.parquet"
    pd.DataFrame({"row": [1], column: [0.5]}).to_parquet(name)
    note = json.loads(note_on(name, ""))
    note["input_checksums"] = {name: f"sha256:{hashlib.sha256(Path(name).read_bytes()).hexdigest()}"}
    place_of_note(name).write_text(json.dumps(note))
    assert pack("demo", tmp_path / "x.zip") == len(PACKED) + packed


def test_other_numbers_are_not_replaced_and_nothing_is_written_then(demo):
    write(Path(), PACKED[-2], "another run", note=False)
    with pytest.raises(PackError, match=rf"demo\.zip: '{PACKED[-2]}' is of another run than what is there"):
        unpack([demo])
    assert files_here() == [PACKED[-2]]
    Path(PACKED[-2]).unlink()
    assert unpack([demo]) == len(PACKED)


def test_a_note_that_is_being_written_is_left_out(project, tmp_path):
    """Snakemake does not write its notes in one go."""
    place = project / place_of_note(PACKED[2])
    whole = place.read_text()
    place.write_text(whole[: len(whole) // 2])
    assert pack("demo", tmp_path / "meanwhile.zip") == len(PACKED) - 1
    place.unlink()
    assert read_note(PurePosixPath(PACKED[2])) == {}


def test_notes_nested_too_deeply_are_refused(demo, tmp_path):
    with zipfile.ZipFile(demo) as whole, zipfile.ZipFile(tmp_path / "deep.zip", "w") as deep:
        for member in whole.infolist():
            content = whole.read(member)
            deep.writestr(member, b"[" * 100_000 if member.filename.startswith(packs.NOTES) else content)
    with pytest.raises(PackError, match="is none of Snakemake's"):
        unpack([tmp_path / "deep.zip"])


def test_two_packs_that_contradict_each_other_are_refused(demo, project, tmp_path, monkeypatch):
    here = Path.cwd()
    monkeypatch.chdir(project)
    write(project, PACKED[2], "other numbers")
    pack("demo", tmp_path / "other.zip")
    monkeypatch.chdir(here)
    with pytest.raises(PackError, match=rf"other\.zip: '{PACKED[2]}' is of another run"):
        unpack([demo, tmp_path / "other.zip"])
    assert files_here() == []


def test_records_of_two_machines_may_differ(demo):
    write(Path(), RECORD, "on another machine, at another time")
    own = place_of_note(RECORD).read_text()
    assert unpack([demo]) == len(PACKED) - 1
    assert Path(RECORD).read_text() == "on another machine, at another time"
    assert place_of_note(RECORD).read_text() == own


def test_a_file_that_was_not_here_gets_the_note_that_came_with_it(demo):
    """And the mark goes that Snakemake made before it was killed, or it would make the file again."""
    write(Path(), PACKED[2], "gone")
    Path(PACKED[2]).unlink()
    mark = Path(".snakemake", "incomplete", place_of_note(PACKED[2]).name)
    mark.parent.mkdir()
    mark.touch()
    unpack([demo])
    note = read_note(PurePosixPath(PACKED[2]))
    assert note["input_checksums"] == json.loads(note_on(PACKED[2], PACKED[2]))["input_checksums"]
    assert not mark.exists()


def test_files_come_before_their_notes(demo, monkeypatch):
    """So a kill between them leaves files that are made again, and no note that speaks of a file that is not there."""
    written, atomically = [], packs.atomically
    monkeypatch.setattr(packs, "atomically", lambda place: written.append(place) or atomically(place))
    unpack([demo])
    are_notes = [place.parts[0] == ".snakemake" for place in written]
    assert are_notes == sorted(are_notes)
    assert are_notes.count(False) == len(PACKED)


def test_nobody_unpacks_under_a_running_snakemake(demo):
    Path(".snakemake").mkdir()
    with FileLock(".snakemake/demo.running"), pytest.raises(PackError, match="a Snakemake works on this profile here"):
        unpack([demo])
    assert files_here() == []
    assert unpack([demo]) == len(PACKED)


def test_only_into_a_project(demo, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    with pytest.raises(PackError, match="there is no Snakefile here"):
        unpack([demo])


def forge(members, kind=zipfile.ZIP_DEFLATED):
    """x.zip with these, and with a right note on each that is none."""
    with zipfile.ZipFile("x.zip", "w") as foreign:
        for name, content in members.items():
            foreign.writestr(name, content, kind)
            if not name.startswith("notes/"):
                foreign.writestr(f"notes/{name}", note_on(name, content), kind)


@pytest.mark.parametrize(
    "name",
    [
        "stscq/cli.py", "/etc/data/demo/x.json", "data/demo/../../x.json", "models/../data/demo/x/y.json",
        "data/demo/x.json", "data/demo/evaluation/x.py", "data/demo/faces/index.parquet", "data/demo/x/files.parquet",
        "models/demo/ibq/stage3/x.npz", "models/demo/ibq/stage3/x/recipe.json",
        "data/demo/evaluation/ibq/embeddings.npy", "notes/Snakefile", "notes/../../data/demo/x/y.json",
        "data/demo/x\x1b/y.npy",
    ],
)  # fmt: skip
def test_a_pack_writes_nowhere_else(demo, name):
    forge({PACKED[2]: "fine", name: "{}"})
    with pytest.raises(PackError, match=r"^x\.zip: holds '[ -~]*', which is no part of a run's numbers$"):
        unpack([Path("x.zip")])
    assert files_here() == ["x.zip"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"notes/" + PACKED[2]: "[1]"}, "is none of Snakemake's"),
        ({"notes/" + PACKED[2]: "no JSON"}, "is none of Snakemake's"),
        ({"notes/" + PACKED[2]: "{}"}, "is none of Snakemake's"),
        ({PACKED[2]: "a", PACKED[2].replace("demo", "lfw"): "a"}, "of several profiles"),
    ],
)
def test_notes_are_looked_at(demo, members, reason):
    forge(members)
    with pytest.raises(PackError, match=rf"x\.zip: .*{reason}"):
        unpack([Path("x.zip")])
    assert files_here() == ["x.zip"]


def test_a_number_whose_note_speaks_of_another_is_refused(demo):
    with zipfile.ZipFile("x.zip", "w", zipfile.ZIP_DEFLATED) as foreign:
        foreign.writestr(PACKED[2], "changed afterwards")
        foreign.writestr(f"notes/{PACKED[2]}", note_on(PACKED[2], "as it was"))
    with pytest.raises(PackError, match="is not what its note speaks of"):
        unpack([Path("x.zip")])


def test_damaged_and_swollen_packs_end_in_a_line(demo, monkeypatch):
    whole = demo.read_bytes()
    at = whole.index(PACKED[0].encode()) + len(PACKED[0]) + 12
    broken = (b"", b"no zip", whole[:-30], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    name = whole.replace(b"data/demo/evaluation/titok_s", b"data/demo/evaluation/\xff\xfeok_s")
    for content in (*broken, name):
        Path("x.zip").write_bytes(content)
        with pytest.raises(PackError, match=r"x\.zip: "):
            unpack([Path("x.zip")])
        assert files_here() == ["x.zip"]
    with pytest.raises(PackError, match=r"no\.zip: no pack of a run's numbers"):
        unpack([Path("no.zip")])
    forge({PACKED[2]: "packed by another method"}, zipfile.ZIP_BZIP2)
    with pytest.raises(PackError, match="which is no part of a run's numbers"):
        unpack([Path("x.zip")])
    for limit in ("LARGEST", "MOST"):
        with monkeypatch.context() as patched:
            patched.setattr(packs, limit, 5)
            with pytest.raises(PackError, match="unfolds to more than"):
                unpack([demo])


def test_a_zip_that_lies_about_its_sizes_takes_no_more_memory_than_it_says(demo):
    forge({PACKED[2]: "0" * 50_000_000})
    lying = Path("x.zip").read_bytes().replace((50_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    Path("x.zip").write_bytes(lying)
    tracemalloc.start()
    with pytest.raises(PackError, match="is damaged"):
        unpack([Path("x.zip")])
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_folder_in_the_way_is_named(demo):
    Path(PACKED[2]).mkdir(parents=True)
    with pytest.raises(PackError, match="there is a folder here where"):
        unpack([demo])


def test_a_number_that_another_pack_has_the_note_of_alone(project, tmp_path, monkeypatch):
    """As of a file that somebody had deleted while that pack was made."""
    late, first, second = project / PACKED[0], tmp_path / "first.zip", tmp_path / "second.zip"
    late.rename(tmp_path / "kept")
    pack("demo", first)
    (tmp_path / "kept").rename(late)
    assert pack("demo", second, [first]) == 1
    (tmp_path / "further").mkdir()
    (tmp_path / "further" / "Snakefile").touch()
    monkeypatch.chdir(tmp_path / "further")
    assert unpack([first, second]) == len(PACKED)
    assert Path(PACKED[0]).read_text() == PACKED[0]


def test_the_commands(project, tmp_path):
    def run(*words):
        return CliRunner().invoke(cli.app, [*map(str, words)])

    out, more = tmp_path / "x.zip", tmp_path / "more.zip"
    assert run("pack", "demo", "-o", out).output.strip() == f"{out}: {len(PACKED)} files"
    assert "there already" in str(run("pack", "demo", "-o", out).exception)
    assert run("pack", "demo", "-o", out, "--force").exit_code == 0
    assert "also what is to be read" in str(run("pack", "demo", "-o", out, "--without", out, "--force").exception)
    write(project, WITHOUT_A_NOTE)
    assert run("pack", "demo", "-o", more, "--without", out).output.strip() == f"{more}: 1 files"
    nothing = run("pack", "demo", "-o", tmp_path / "y.zip", "--without", out, "--without", more)
    assert "nothing to pack" in str(nothing.exception)
    (project / PACKED[0]).unlink()
    assert run("unpack", out, more).output.strip() == "files that were not here: 1"
    assert (project / PACKED[0]).read_text() == PACKED[0]
