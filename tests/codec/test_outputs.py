"""Nothing of the user's is lost, whatever is named as a result; and no two results share a name."""

import errno
import fcntl
import io
import os
import shutil
import socket
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stscq import cli, outputs
from stscq.codec import archive, commands, decompress
from stscq.codec.api import Codec
from stscq.codec.opened import Opened
from stscq.codec.partial import partial_archive
from stscq.codec.sources import list_sources, stem_of
from stscq.codec.write_file import origin_of
from stscq.errors import DataError, StscqError
from stscq.outputs import OutputError, check_places, folded, from_common_folder, write_whole


@pytest.fixture(scope="session")
def model(bundles):
    return bundles["switchable"]


@pytest.fixture
def here(pictures, tmp_path, monkeypatch):
    """We are in a folder with D, which has four photos in two folders and a text, and one.stscq and D.stscq of them."""
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        place = Path(f"D/{'ab'[i % 2]}/{i}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).save(place)
    Path("D/notes.txt").write_text("notes")
    return tmp_path


@pytest.fixture
def packed(here, model):
    pack("D", out="D.stscq", model=model)
    pack("D/a/0.png", out="one.stscq", model=model)
    return here


def pack(*paths, out, model, force=False):
    return commands.compress([str(path) for path in paths], str(out), model, None, True, 1, True, force)


def unpack(*files, out, model, only=(), force=False):
    return commands.decompress([str(file) for file in files], str(out), model, only, 1, True, force)


def everything(folder=Path()):
    """Every file here and what is in it, links and hard links as they are."""
    return {
        path: (path.lstat().st_ino, path.readlink() if path.is_symlink() else path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def refused(words, call, *arguments, **options):
    """It ends in one line, and nothing changed."""
    before = everything()
    with pytest.raises(StscqError, match=words) as problem:
        call(*arguments, **options)
    assert "\n" not in str(problem.value)
    assert everything() == before


def test_pictures_do_not_replace_the_photos_that_they_were_made_from(packed, model):
    refused(r"^D/a/0\.png \(and 3 more\): there already; .*--force", unpack, "D.stscq", out="D", model=model)
    refused(r"^D/a/0\.png: there already", unpack, "D.stscq", out="D", model=model, only=["a/0.png"])
    refused(r"^D/a/0\.png: there already", unpack, "one.stscq", out="D/a/0.png", model=model)
    assert unpack("D.stscq", out="D", model=model, force=True) == 0
    assert origin_of(Path("D/a/0.png"))
    assert Path("D/notes.txt").read_text() == "notes"


def ways_to(file):
    """Other paths to a file, and links to it of both kinds."""
    Path("linked").symlink_to(Path(file).absolute())
    Path("folder").symlink_to(Path(file).parent.absolute())
    os.link(file, "hard")
    return [
        file,
        f"./{file}",
        f"D/../{file}",
        str(Path(file).absolute()),
        "linked",
        f"folder/{Path(file).name}",
        "hard",
    ]


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


@pytest.mark.parametrize("force", [False, True])
def test_a_compressed_file_is_no_result_of_itself(packed, model, force):
    for out in ways_to("one.stscq"):
        refused("also what is to be read", unpack, "one.stscq", out=out, model=model, force=force)
    refused("also what is to be read", unpack, "D.stscq", out="D.stscq", model=model, force=force)
    refused("one.stscq: a file; name a folder", unpack, "D.stscq", out="one.stscq", model=model, force=force)
    Path("into").mkdir()
    Path("into/one.png").symlink_to(Path("one.stscq").absolute())
    refused("also what is to be read", unpack, "one.stscq", out="into", model=model, force=force)


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
    for path, out in (("D", "D/notes.txt"), ("D/a/0.png", "D/notes.txt"), ("D", "D.stscq"), ("D", "one.stscq")):
        refused(f"^{out}: there already; name another place", pack, path, out=out, model=model)
    refused("there already", unpack, "one.stscq", out="D/notes.txt", model=model)
    whole = Path("D.stscq").read_bytes()
    for path in ("D/a/0.png", "D"):
        assert pack(path, out="D/notes.txt", model=model, force=True) == 0
    assert Path("D/notes.txt").read_bytes() == whole
    assert unpack("one.stscq", out="D/notes.txt", model=model, force=True) == 0
    assert origin_of(Path("D/notes.txt"))
    assert not [path for path in Path().rglob("*") if path.name.startswith(".partial")]


def test_force_is_an_option_of_every_command_that_writes(packed, faces, model, monkeypatch, capsys):
    shutil.copytree(faces, "store")
    Path("store/pairs.parquet").write_text("pairs")
    people = Path("people/x")
    people.mkdir(parents=True)
    shutil.copy("D/a/0.png", people)
    monkeypatch.setattr("stscq.data.prepare.main", lambda **given: Path("made").write_text(str(given["out"])))
    for command in (
        ["compress", "D", "-o", "D/notes.txt", "--aligned", "--model", str(model)],
        ["decompress", "one.stscq", "-o", "D/notes.txt", "--model", str(model)],
        ["faces", "people", "-o", "store"],
    ):
        Path("D/notes.txt").write_text("notes")
        monkeypatch.setattr(sys, "argv", ["stscq", *command])
        before = everything()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert "there already; name another place, or replace with --force" in ended.value.code
        assert everything() == before
        monkeypatch.setattr(sys, "argv", ["stscq", *command, "--force"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        assert everything() != before
    for name in ("images.npy", "index.parquet"):
        Path(f"store/{name}").unlink()
    monkeypatch.setattr(sys, "argv", ["stscq", "faces", "people", "-o", "store"])
    with pytest.raises(SystemExit, match=r"store/pairs\.parquet: there already") as ended:
        cli.main()


def test_pictures_of_the_same_bytes_stay_and_others_of_ours_are_not_replaced_either(packed, model, capsys):
    pack("D/b/1.png", out="b.stscq", model=model)
    assert unpack("one.stscq", out="one.png", model=model) == 0
    before = everything()
    assert unpack("one.stscq", out="one.png", model=model) == 0
    assert '"there": 1' in capsys.readouterr().out
    assert everything() == before
    refused(r"one\.png: there already", unpack, "b.stscq", out="one.png", model=model)


def test_a_trailing_slash_is_a_folder(packed, model):
    """for f in *.stscq; do stscq decompress $f -o out/; done"""
    for photo in ("D/a/0.png", "D/b/1.png", "D/a/2.png"):
        pack(photo, out="files/", model=model)
    shutil.copy("files/0.stscq", "files/img.001.stscq")
    shutil.copy("files/1.stscq", "files/img.002.stscq")
    shutil.copy("files/2.stscq", "files/2.jpg.stscq")
    assert sorted(path.name for path in Path("files").iterdir()) == [
        "0.stscq", "1.stscq", "2.jpg.stscq", "2.stscq", "img.001.stscq", "img.002.stscq",
    ]  # fmt: skip
    for file in sorted(Path("files").iterdir()):
        unpack(file, out="out/", model=model)
    names = ["0.png", "1.png", "2.jpg.png", "2.png", "img.001.png", "img.002.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == names
    assert len({path.read_bytes() for path in Path("out").iterdir()}) == 3
    pack("D", out="sets/", model=model)
    pack("D/a/", out="sets/", model=model)
    assert sorted(path.name for path in Path("sets").iterdir()) == ["D.stscq", "a.stscq"]
    refused(r"^sets/D\.stscq: there already", pack, "D", out="sets/", model=model)
    refused("several photos make one archive", pack, "D/a/0.png", "D/b/1.png", out="sets/", model=model)
    refused(r"D/notes\.txt/.*\(Not a directory\)", pack, "D/a/0.png", out="D/notes.txt/", model=model)
    refused("D/notes.txt: a file; name a folder", unpack, "one.stscq", out="D/notes.txt/", model=model)
    pack("D/a/0.png", out=".", model=model)
    assert Path("0.stscq").is_file()
    for call in (pack, unpack):
        refused("--out is empty", call, "D.stscq", out="", model=model)
        refused("an empty path", call, "", out="new", model=model)


def test_what_is_in_the_way_is_told_before_anything_is_read_or_painted(packed, model, monkeypatch):
    monkeypatch.setattr(commands, "compress_one", None)
    monkeypatch.setattr(commands, "compress_many", None)
    monkeypatch.setattr(Codec, "paint", None)
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
    assert Opened("x").names == ["a.png/1.jpg", "b.png/1.jpg"]
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


def test_images_of_one_name_in_several_files(packed, model):
    for folder in ("x", "y"):
        Path(folder).mkdir()
    pack("D/a/0.png", out="x/1.stscq", model=model)
    pack("D/b/1.png", out="y/1.stscq", model=model)
    unpack("x/1.stscq", "y/1.stscq", out="out", model=model)
    assert sorted(map(str, Path("out").rglob("*.png"))) == ["out/x/1.png", "out/y/1.png"]
    assert Path("out/x/1.png").read_bytes() != Path("out/y/1.png").read_bytes()
    shutil.copy("D.stscq", "x/D.stscq")
    unpack("D.stscq", "x/D.stscq", "x/1.stscq", out="sets", model=model)
    inside = ["a/0.png", "a/2.png", "b/1.png", "b/3.png"]
    expected = {f"{folder}/{name}" for folder in ("D", "x/D") for name in inside} | {"x/1.png"}
    assert {path.relative_to("sets").as_posix() for path in Path("sets").rglob("*.png")} == expected
    unpack("D.stscq", "x/1.stscq", out="plain", model=model)
    assert {path.relative_to("plain").as_posix() for path in Path("plain").rglob("*.png")} == {*inside, "1.png"}


def test_one_after_the_other_into_one_folder(packed, model):
    """for f in */1.stscq; do stscq decompress $f -o out/; done"""
    for folder, photo in (("x", "D/a/0.png"), ("y", "D/b/1.png")):
        pack(photo, out=f"{folder}/1.stscq", model=model)
    unpack("x/1.stscq", out="out/", model=model)
    refused(r"out/1\.png: there already", unpack, "y/1.stscq", out="out/", model=model)


def test_a_folder_called_like_a_picture_can_be_unpacked(pictures, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(["a.png/x.jpg", "a.jpg", "A.PNG.png", "b.jpg", "b.PNG", "b.jpg.jpg", "c.png", "C.jpg"]):
        Path("D", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[17 * i]).save(Path("D", name), "PNG")
    pack("D", out="x", model=model)
    unpack("x", out="out", model=model)
    found = {path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.is_file()}
    assert found == {
        "a.png/x.png", "a.jpg.png", "A.PNG.png", "b.jpg-2.png", "b.PNG.png", "b.jpg.png", "c.png.png", "C.jpg.png",
    }  # fmt: skip
    opened, codec = Opened("x"), Codec.load(model)
    for name, path in decompress.picture_paths(opened.names).items():
        assert origin_of(Path("out", path)) == opened.origin(codec.bundle, opened.names.index(name))


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "1.png", "1.jpg.jpg", "1.png.png", "1.jpg.png"],
        ["a.png/b.png/c.png", "a.jpg", "a.png/b.tif", "a.PNG.jpg", "a.jpg.png/x"],
        ["\u00e9.png", "e\u0301.jpg", "\u00c9.bmp", "\u00e9.png/x"],
        ["stra\u00dfe.jpg", "STRASSE.jpg", "strasse.jpg-2.png"],
        [f"{'aA'[i & 1]}{'aA'[i >> 1 & 1]}.jpg" for i in range(4)],
        ["1", "1.jpg", "1.", ".jpg", "1.5", "1.5.jpg"],
    ],
)
def test_no_two_pictures_are_one_file_on_any_file_system(names):
    paths = decompress.picture_paths(names)
    assert list(paths) == names
    known = [folded(path) for path in paths.values()]
    assert len(set(known)) == len(names)
    assert not {folder for path in known for folder in decompress.folders_of(path)} & set(known)
    assert decompress.picture_paths(names) == paths


def test_names_that_some_file_system_takes_for_one():
    for one, other in (("A.png", "a.PNG"), ("\u00e9", "e\u0301"), ("\u00c9", "e\u0301"), ("stra\u00dfe", "STRASSE")):
        assert folded(one) == folded(other)
    assert len({folded(name) for name in ("a", "b", "e", "\u00e9", "a/b", "a b")}) == 6


def test_names_without_a_suffix_of_pictures_are_kept_whole():
    assert [stem_of(name) for name in ("1.JPG", "1.5", "a.b/1", "photo.of.me.tif", ".jpg")] == [
        "1", "1.5", "a.b/1", "photo.of.me", ".jpg",
    ]  # fmt: skip
    assert decompress.picture_paths(["photo.1", "photo.2"]) == {"photo.1": "photo.1.png", "photo.2": "photo.2.png"}


def test_what_is_chosen_does_not_change_the_name_of_a_picture(here, model):
    Image.fromarray(np.full((32, 32, 3), 99, np.uint8)).save("D/a/0.bmp")
    pack("D", out="x", model=model)
    unpack("x", out="all", model=model)
    unpack("x", out="few", model=model, only=["a/0.png"])
    (found,) = (path for path in Path("few").rglob("*.png"))
    assert found.read_bytes() == Path("all", found.relative_to("few")).read_bytes()


def test_two_folders_that_are_one(packed, model):
    Path("out/a").mkdir(parents=True)
    Path("out/b").symlink_to("a")
    shutil.copytree("D", "E")
    shutil.copy("E/a/0.png", "E/b/0.png")
    pack("E", out="E.stscq", model=model)
    for force in (False, True):
        refused("two results would be one file", unpack, "E.stscq", out="out", model=model, force=force)


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
    monkeypatch.setattr(Codec, "paint", beside(Codec.paint))
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
        partial_archive(Path("x"), {}, b"9876543210", []).__enter__()
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
    assert pack("D", out="x", model=model) == 0
    assert Path("x").read_bytes() == Path("real.stscq").read_bytes()
    assert not list(Path().glob(".partial-x*"))


def test_hostile_names_in_archives(here, codec, pictures, model, monkeypatch):
    (payload,) = codec.payloads(codec.assign(pictures[:1]))
    head = archive.header(codec.bundle.fingerprint[: archive.MODEL])

    def lying(*names):
        records = b"".join(archive.record(head, i, payload) for i in range(len(names)))
        return head + records + archive.tail(head, names, [len(payload)] * len(names))

    monkeypatch.setattr(archive, "check_name", lambda name: name)
    bad = {
        name: lying(name) for name in ("../x.png", "/tmp/x.png", "a/../../x", "a//b", ".", "a\nb", "\x1b[2J", "a\\b")
    }
    long = lying("x" * 300 + ".png")
    folder = lying("a.png/" * 40 + "x.png", "a")
    monkeypatch.undo()
    os.chdir(here)
    for content in bad.values():
        Path("bad").write_bytes(content)
        refused("bad: .* is no name for an image", unpack, "bad", out="out", model=model, force=True)
    Path("bad").write_bytes(long)
    refused("a name of more than 255 bytes", unpack, "bad", out="out", model=model, force=True)
    Path("good").write_bytes(folder)
    assert unpack("good", out="out", model=model) == 0
    assert len(list(Path("out").rglob("*.png"))) == 42
    assert archive.Archive(io.BytesIO(folder)).names[1] == "a"


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
