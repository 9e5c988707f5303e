"""Nothing of the user's is lost, whatever is named as a result of compressing."""

import errno
import fcntl
import os
import shutil
import socket
import stat
import sys
from pathlib import Path

import pytest

from stscq import cli, outputs
from stscq.codec import commands
from stscq.codec.api import Codec
from stscq.codec.files import archive
from stscq.codec.files.compressed_file import CompressedFile
from stscq.codec.files.resumable import resumable_archive
from stscq.codec.files.sources import list_sources
from stscq.codec.files.write import origin_of
from stscq.errors import DataError, StscqError
from stscq.outputs import OutputError, check_places, from_common_folder, write_whole
from tests.codec.conftest import everything, pack, refused, unpack, ways_to


@pytest.mark.parametrize("force", [False, True])
def test_an_input_is_never_a_result(packed, faces, model, force):
    for out in ways_to("D/a/0.png"):
        for paths in (["D/a/0.png"], ["D"], ["D/b", "D/a"], ["D/b/1.png", "hard"]):
            refused("also what is to be read", pack, *paths, out=out, model=model, force=force)
    refused("also what is to be read", pack, "linked", out="D/a/0.png", model=model, force=force)
    shutil.copytree(faces, "store")
    for name in ("images.npy", "index.parquet"):
        refused("also what is to be read", pack, "store", out=f"store/{name}", model=model, force=force)
    shutil.copytree(model, "model")
    for name in ("bundle.json", "encoder.safetensors"):
        refused("also what is to be read", pack, "D", out=f"model/{name}", model=Path("model"), force=force)
        refused("also", unpack, "one.stscq", out=f"model/{name}", model=Path("model"), force=force)


def special(name, kind):
    if kind == "pipe":
        os.mkfifo(name)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(name)
    else:
        try:
            os.mknod(name, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except OSError:
            pytest.skip("only root can make a device")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_devices_and_pipes_stay(packed, model, kind, force):
    special("x", kind)
    Path("out").mkdir()
    shutil.copy("one.stscq", "x.stscq")
    special("out/x.png", kind)
    known = os.lstat("x"), os.lstat("out/x.png")
    for path in ("D", "D/a/0.png"):
        refused(r"x: a device, pipe or socket.*-o - writes", pack, path, out="x", model=model, force=force)
    refused("x: a device, pipe", unpack, "one.stscq", out="x", model=model, force=force)
    refused("x: a device, pipe", unpack, "D.stscq", out="x", model=model, force=force)
    refused(r"out/x\.png: a device, pipe", unpack, "x.stscq", out="out/", model=model, force=force)
    assert (os.lstat("x").st_ino, os.lstat("out/x.png").st_ino) == tuple(found.st_ino for found in known)


@pytest.mark.parametrize("force", [False, True])
def test_links_and_folders_stay(packed, model, force):
    Path("elsewhere").write_text("of the user")
    Path("link").symlink_to("elsewhere")
    Path("dangling").symlink_to("nothing")
    Path("loop").symlink_to("loop")
    Path("out/0.png").mkdir(parents=True)
    for out in ("link", "dangling", "loop"):
        for path in ("D", "D/a/0.png"):
            refused(f"^{out}: a link, .*name what it points to", pack, path, out=out, model=model, force=force)
        refused(f"^{out}: a link", unpack, "one.stscq", out=out, model=model, force=force)
        refused(f"^{out}: a link", unpack, "D.stscq", out=out, model=model, force=force)
    refused("out: a folder; name the file", pack, "D", out="out", model=model, force=force)
    shutil.copy("one.stscq", "0.stscq")
    refused(r"out/0\.png: a folder, which is never replaced", unpack, "0.stscq", out="out", model=model, force=force)


def test_a_file_is_replaced_with_force_alone(packed, model):
    Path("notes.txt").write_text("notes")
    for path, out in (("D", "notes.txt"), ("D/a/0.png", "notes.txt"), ("D", "D.stscq"), ("D", "one.stscq")):
        refused(f"^{out}: there already; name another place", pack, path, out=out, model=model)
    refused("there already", unpack, "one.stscq", out="notes.txt", model=model)
    whole = Path("D.stscq").read_bytes()
    for path, code in (("D/a/0.png", 0), ("D", commands.LEFT_OUT)):  # the notes are no picture
        assert pack(path, out="notes.txt", model=model, force=True) == code
    assert Path("notes.txt").read_bytes() == whole
    assert unpack("one.stscq", out="notes.txt", model=model, force=True) == 0
    assert origin_of(Path("notes.txt"))
    assert not [path for path in Path().rglob("*") if path.name.startswith(".partial")]


def test_force_is_an_option_of_every_command_that_writes(packed, faces, model, monkeypatch, capsys):
    shutil.copytree(faces, "store")
    Path("store/pairs.parquet").write_text("pairs")
    people = Path("people/x")
    people.mkdir(parents=True)
    shutil.copy("D/a/0.png", people)
    monkeypatch.setattr("stscq.data.prepare.main", lambda **given: Path("made").write_text(str(given["out"])))
    for command in (
        ["compress", "D", "-o", "notes.txt", "--aligned", "--model", str(model)],
        ["decompress", "one.stscq", "-o", "notes.txt", "--model", str(model)],
        ["faces", "people", "-o", "store"],
    ):
        Path("notes.txt").write_text("notes")
        monkeypatch.setattr(sys, "argv", ["stscq", *command])
        before = everything()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert "there already; name another place, or replace with --force" in ended.value.code
        assert everything() == before
        monkeypatch.setattr(sys, "argv", ["stscq", *command, "--force"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (None, 0, commands.LEFT_OUT)  # the notes of D are no picture
        assert everything() != before
    for name in ("images.npy", "index.parquet"):
        Path(f"store/{name}").unlink()
    monkeypatch.setattr(sys, "argv", ["stscq", "faces", "people", "-o", "store"])
    with pytest.raises(SystemExit, match=r"store/pairs\.parquet: there already") as ended:
        cli.main()


def test_what_is_in_the_way_is_told_before_anything_is_read_or_painted(packed, model, monkeypatch):
    monkeypatch.setattr(commands, "compress_one", None)
    monkeypatch.setattr(commands, "compress_many", None)
    monkeypatch.setattr(Codec, "reconstruct", None)
    for path in ("D", "D/a/0.png"):
        refused("there already", pack, path, out="D.stscq", model=model)
        refused("given twice", pack, path, f"./{path}", out="new", model=model)
    Path("out/b").mkdir(parents=True)
    Path("out/b/3.png").write_text("the last picture")
    refused(r"out/b/3\.png: there already", unpack, "D.stscq", out="out", model=model)
    refused("given twice", unpack, "D.stscq", "D.stscq", out="new", model=model)


def test_photos_of_one_name_in_several_folders(here, model):
    for place in ("a.png", "b.png"):
        Path(place).mkdir()
        shutil.copy(f"D/{place[0]}/{'01'[place == 'b.png']}.png", f"{place}/1.jpg")
    pack("a.png/1.jpg", "b.png/1.jpg", out="x", model=model)
    assert CompressedFile("x").names == ["a.png/1.jpg", "b.png/1.jpg"]
    unpack("x", out="out", model=model)
    assert Path("out/a.png/1.png").read_bytes() != Path("out/b.png/1.png").read_bytes()


def test_names_stay_short_where_they_differ(here):
    assert [s.name for s in list_sources(["D/a/0.png", "D/b/1.png"])] == ["0.png", "1.png"]
    assert [s.name for s in list_sources(["D/a", "D/b/1.png"])] == ["a/0.png", "a/2.png", "1.png"]
    shutil.copytree("D/a", "deep/a")
    assert [s.name for s in list_sources(["D/a", "./deep/../deep/a"])] == [
        "D/a/0.png", "D/a/2.png", "deep/a/0.png", "deep/a/2.png",
    ]  # fmt: skip
    assert from_common_folder(["D/a/0.png"]) == ["0.png"]
    assert from_common_folder(["D", "D/a/0.png"]) == ["D", "D/a/0.png"]


def test_what_appears_meanwhile_stays(here, monkeypatch):
    for refusal in (None, errno.EPERM, errno.ENOTSUP):
        if refusal:
            monkeypatch.setattr(Path, "hardlink_to", lambda *_, n=refusal: (_ for _ in ()).throw(OSError(n, "no")))
        Path("x").write_text("of the user")
        refused("x: appeared while this ran", write_whole, b"new", Path("x"), force=False)
        write_whole(b"new", Path("x"), force=True)
        assert Path("x").read_bytes() == b"new"
        Path("x").unlink()
        write_whole(b"new", Path("deep/er/x"), force=False)
        assert Path("deep/er/x").read_bytes() == b"new"
        shutil.rmtree("deep")
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    refused(r"x: cannot be written \(full\)", write_whole, b"new", Path("x"), force=False)


def test_an_archive_that_appears_meanwhile_stays(here, model, monkeypatch):
    fill = commands.compress_many.__globals__["fill"]

    def slow(*arguments):
        fill(*arguments)
        Path("x").write_text("of the user")

    monkeypatch.setitem(commands.compress_many.__globals__, "fill", slow)
    with pytest.raises(OutputError, match="x: appeared while this ran"):
        pack("D", out="x", model=model)
    assert Path("x").read_text() == "of the user"


def test_a_result_of_one_image_that_appears_meanwhile_stays(packed, model, monkeypatch):
    def beside(work):
        def slow(*arguments):
            found = work(*arguments)
            Path("x").write_text("of the user")
            return found

        return slow

    monkeypatch.setattr(Codec, "encode", beside(Codec.encode))
    monkeypatch.setattr(Codec, "reconstruct", beside(Codec.reconstruct))
    for call, path in ((pack, "D/a/0.png"), (unpack, "one.stscq")):
        with pytest.raises(OutputError, match="x: appeared while this ran"):
            call(path, out="x", model=model)
        assert Path("x").read_text() == "of the user"
        Path("x").unlink()


def test_an_archive_that_another_process_has_just_finished_is_not_written_to(here, monkeypatch):
    Path(".partial-x").write_bytes(archive.header(b"0123456789"))
    flock = fcntl.flock

    def late(file, how):
        Path(".partial-x").replace("x")
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(StscqError, match="x: another process is writing it"):
        resumable_archive(Path("x"), {}, b"9876543210", []).__enter__()
    assert Path("x").read_bytes() == archive.header(b"0123456789")


def test_only_what_an_earlier_run_left_is_gone_on_with(here, model):
    for name in (".partial-x", ".partial-x.jsonl"):
        Path(name).write_bytes(b"of the user")
        refused(f"^{name}: not what an earlier run left behind", pack, "D", out="x", model=model, force=True)
        Path(name).unlink()
    pack("D", out="real.stscq", model=model)
    for make in (os.link, os.symlink):
        make("real.stscq", ".partial-x")
        refused("not what an earlier run", pack, "D", out="x", model=model, force=True)
        Path(".partial-x").unlink()
    shutil.copy("D/a/0.png", ".partial-y")
    refused("not what an earlier run", pack, ".partial-y", "D", out="y", model=model, force=True)
    Path(".partial-x").write_bytes(archive.MAGIC + b"cut off")
    assert pack("D", out="x", model=model) == commands.LEFT_OUT
    assert Path("x").read_bytes() == Path("real.stscq").read_bytes()
    assert not list(Path().glob(".partial-x*"))


def test_a_folder_that_cannot_be_read_is_told(here, monkeypatch):
    walk = os.walk

    def broken(top, onerror=None):
        onerror(PermissionError(errno.EACCES, "Permission denied", "D/b"))
        return walk(top)

    monkeypatch.setattr(os, "walk", broken)
    with pytest.raises(DataError, match=r"D/b: cannot be read \(Permission denied\)"):
        list_sources(["D"])


def test_results_have_the_mode_that_the_umask_says(here, model):
    old = os.umask(0o027)
    try:
        pack("D/a/0.png", out="one", model=model)
        pack("D", out="many", model=model)
    finally:
        os.umask(old)
    assert [stat.S_IMODE(Path(name).stat().st_mode) for name in ("one", "many")] == [0o640, 0o640]


def test_a_place_that_is_there_is_found_by_its_own_name_alone(here):
    """lstat, not stat: what a link points to is never written through it."""
    Path("link").symlink_to("D/notes.txt")
    with pytest.raises(OutputError, match="a link"):
        check_places([Path("link")], [])
    assert check_places([Path("D/notes.txt"), Path("new"), Path("nowhere/new")], []) == [Path("D/notes.txt")]
    assert outputs.ends_as_folder("a/")
    assert not outputs.ends_as_folder("a/b")
