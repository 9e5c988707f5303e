"""Nothing of the user's is lost, whatever is named as a result of decompressing; and no two results share a name."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stscq.codec.api import Codec
from stscq.codec.files import archive
from stscq.codec.files.compressed_file import CompressedFile
from stscq.codec.files.names import folders_of, picture_paths
from stscq.codec.files.sources import stem_of
from stscq.codec.files.statement import origin_note
from stscq.codec.files.write import origin_of
from stscq.codec.watermark.embed import VERSION
from stscq.outputs import folded
from tests.codec.conftest import everything, pack, refused, unpack, ways_to


def test_pictures_do_not_replace_the_photos_that_they_were_made_from(packed, model):
    refused(r"^D/a/0\.png \(and 3 more\): there already; .*--force", unpack, "D.stscq", out="D", model=model)
    refused(r"^D/a/0\.png: there already", unpack, "D.stscq", out="D", model=model, only=["a/0.png"])
    refused(r"^D/a/0\.png: there already", unpack, "one.stscq", out="D/a/0.png", model=model)
    assert unpack("D.stscq", out="D", model=model, force=True) == 0
    assert origin_of(Path("D/a/0.png"))
    assert Path("D/notes.txt").read_text() == "notes"


@pytest.mark.parametrize("force", [False, True])
def test_a_compressed_file_is_no_result_of_itself(packed, model, force):
    for out in ways_to("one.stscq"):
        refused("also what is to be read", unpack, "one.stscq", out=out, model=model, force=force)
    refused("also what is to be read", unpack, "D.stscq", out="D.stscq", model=model, force=force)
    refused("one.stscq: a file; name a folder", unpack, "D.stscq", out="one.stscq", model=model, force=force)
    Path("into").mkdir()
    Path("into/one.png").symlink_to(Path("one.stscq").absolute())
    refused("also what is to be read", unpack, "one.stscq", out="into", model=model, force=force)


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
    opened, codec = CompressedFile("x"), Codec.load(model)
    for name, path in picture_paths(opened.names).items():
        made_of = opened.origin(codec.bundle, opened.names.index(name))
        assert origin_of(Path("out", path)) == origin_note(made_of, VERSION)


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
    paths = picture_paths(names)
    assert list(paths) == names
    known = [folded(path) for path in paths.values()]
    assert len(set(known)) == len(names)
    assert not {folder for path in known for folder in folders_of(path)} & set(known)
    assert picture_paths(names) == paths


def test_names_that_some_file_system_takes_for_one():
    for one, other in (("A.png", "a.PNG"), ("\u00e9", "e\u0301"), ("\u00c9", "e\u0301"), ("stra\u00dfe", "STRASSE")):
        assert folded(one) == folded(other)
    assert len({folded(name) for name in ("a", "b", "e", "\u00e9", "a/b", "a b")}) == 6


def test_names_without_a_suffix_of_pictures_are_kept_whole():
    assert [stem_of(name) for name in ("1.JPG", "1.5", "a.b/1", "photo.of.me.tif", ".jpg")] == [
        "1", "1.5", "a.b/1", "photo.of.me", ".jpg",
    ]  # fmt: skip
    assert picture_paths(["photo.1", "photo.2"]) == {"photo.1": "photo.1.png", "photo.2": "photo.2.png"}


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


def test_hostile_names_in_archives(here, codec, pictures, model, monkeypatch):
    (payload,) = codec.payloads(codec.quantise(pictures[:1]))
    head = archive.header(codec.bundle.fingerprint[: archive.MODEL])

    def lying(*names):
        records = b"".join(archive.record(head, i, payload) for i in range(len(names)))
        return head + records + archive.tail(head, names, [len(payload)] * len(names))

    names = ("../x.png", "/tmp/x.png", "a/../../x", "a//b", ".", "a\nb", "\x1b[2J", "a\\b")
    with monkeypatch.context() as lies:
        lies.setattr(archive, "check_name", lambda name: name)
        bad = {name: lying(name) for name in names}
        long = lying("x" * 300 + ".png")
        folder = lying("a.png/" * 40 + "x.png", "a")
    for content in bad.values():
        Path("bad").write_bytes(content)
        refused("bad: .* is no name for an image", unpack, "bad", out="out", model=model, force=True)
    Path("bad").write_bytes(long)
    refused("a name of more than 255 bytes", unpack, "bad", out="out", model=model, force=True)
    Path("good").write_bytes(folder)
    assert unpack("good", out="out", model=model) == 0
    assert len(list(Path("out").rglob("*.png"))) == 42
    assert archive.Archive(io.BytesIO(folder)).names[1] == "a"
