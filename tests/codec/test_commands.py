"""The commands, on files, folders, stores and pipes: same bytes whoever reads, after any kill, and no half file."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stscq import cli
from stscq.codec import commands
from stscq.codec.api import Codec
from stscq.codec.bundle import find
from stscq.codec.bundle.description import fingerprint_of
from stscq.codec.files import inspect
from stscq.codec.files.compressed_file import CompressedFile
from stscq.codec.files.names import picture_paths
from stscq.codec.files.resumable import resumable_archive
from stscq.codec.files.sources import list_sources
from stscq.errors import BitstreamError, BundleError, DataError, StscqError, WrongModelError
from tests.conftest import ROOT

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def stscq(*arguments, **options):
    command = [sys.executable, "-m", "stscq.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env=ENVIRONMENT, **options)


@pytest.fixture(scope="session")
def model(bundles):
    return bundles["switchable"]


@pytest.fixture(scope="session")
def photos(pictures, tmp_path_factory):
    """60 aligned faces in folders, and things that are none."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(60):
        folder = root / f"person {i // 10}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(pictures[i]).save(folder / f"{i}.png")
    (root / ".notes.txt").write_text("no photo, and hidden")
    (root / ".hidden.png").write_text("no photo")
    return root


def compress(paths, out, model, workers=1, selection=None, aligned=True):
    return commands.compress([str(p) for p in paths], str(out), model, selection, aligned, workers, as_json=True)


def test_one_photo_there_and_back(photos, pictures, model, tmp_path, capsys):
    photo = photos / "person 0" / "3.png"
    assert compress([photo], tmp_path / "a.stscq", model) == 0
    told = json.loads(capsys.readouterr().out)
    assert (tmp_path / "a.stscq").stat().st_size == told["bytes"] == told["payload_bytes"] + 5
    files, out = [str(tmp_path / "a.stscq")], str(tmp_path / "a.png")
    assert commands.decompress(files, out, model, [], None, True, watermark=False) == 0
    codec = Codec.load(model)
    expected = codec.reconstruct(codec.quantise(pictures[3:4]))[0]
    assert (np.asarray(Image.open(tmp_path / "a.png")) == expected).all()


def test_a_folder_there_and_back(photos, pictures, model, tmp_path):
    assert compress([photos], tmp_path / "a.stscq", model) == 0
    opened = CompressedFile(str(tmp_path / "a.stscq"))
    assert len(opened.names) == 60
    assert opened.names[:3] == ["person 0/0.png", "person 0/1.png", "person 0/2.png"]
    commands.decompress([str(tmp_path / "a.stscq")], str(tmp_path / "out"), model, [], 2, True, watermark=False)
    codec = Codec.load(model)
    expected = codec.reconstruct(codec.quantise(pictures[:60]))
    for i in range(60):
        assert (np.asarray(Image.open(tmp_path / f"out/person {i // 10}/{i}.png")) == expected[i]).all()
    commands.decompress([str(tmp_path / "a.stscq")], str(tmp_path / "few"), model, ["person 3/35.png"], 2, True)
    assert [p.name for p in (tmp_path / "few").rglob("*.png")] == ["35.png"]
    with pytest.raises(BitstreamError, match="no image is called 'x'"):
        commands.decompress([str(tmp_path / "a.stscq")], str(tmp_path / "few"), model, ["x"], 2, True)


def test_decompress_goes_on_where_it_was(photos, model, tmp_path, capsys):
    assert compress([photos], tmp_path / "a.stscq", model) == 0
    again = partial(commands.decompress, [str(tmp_path / "a.stscq")], str(tmp_path / "out"), model, [], 2, True)
    again()
    capsys.readouterr()
    whole = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")}
    lost, broken, foreign = list(whole)[:3]
    lost.unlink()
    untouched = {path: path.stat().st_mtime_ns for path in list(whole)[1:]}
    again()
    assert json.loads(capsys.readouterr().out)["there"] == 59
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    broken.write_bytes(whole[broken][:40])
    foreign.write_bytes(whole[lost])  # a picture of ours, made from another image
    with pytest.raises(StscqError, match=r"and 1 more\): there already"):
        again()
    untouched = {path: path.stat().st_mtime_ns for path in list(whole)[3:]}
    again(force=True)
    assert json.loads(capsys.readouterr().out)["there"] == 58
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.png")} == whole
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched


def test_a_store_is_a_folder_of_faces(faces, photos, model, tmp_path):
    assert compress([faces], tmp_path / "a.stscq", model) == 0
    opened = CompressedFile(str(tmp_path / "a.stscq"))
    assert len(opened.names) == 400
    assert opened.names[0] == "s1/1.png"
    compress([photos], tmp_path / "b.stscq", model)
    fingerprint = Codec.load(model).bundle.fingerprint
    assert opened.payload(5, fingerprint) == CompressedFile(str(tmp_path / "b.stscq")).payload(5, fingerprint)


@pytest.mark.slow
def test_same_bytes_with_any_number_of_workers(photos, model, tmp_path):
    for workers in (1, 3, 8):
        assert compress([photos], tmp_path / f"{workers}.stscq", model, workers) == 0
    assert len({(tmp_path / f"{workers}.stscq").read_bytes() for workers in (1, 3, 8)}) == 1


def test_unusable_photos_are_left_out_and_named(photos, model, tmp_path, capsys):
    bad = shutil.copytree(photos, tmp_path / "photos")
    (bad / "person 0" / "0.png").write_bytes(b"")
    (bad / "person 1" / "10.png").write_bytes(b"\x89PNG broken")
    (bad / "dangling.png").symlink_to(tmp_path / "nothing")
    assert compress([bad], tmp_path / "a.stscq", model) == commands.LEFT_OUT
    told = capsys.readouterr()
    assert set(json.loads(told.out)["left_out"]) == {"dangling.png", "person 0/0.png", "person 1/10.png"}
    assert "left out" in told.err
    assert "person 0/0.png: empty" in told.err
    assert len(CompressedFile(str(tmp_path / "a.stscq")).names) == 58
    with pytest.raises(DataError, match=r"10\.png: "):
        compress([bad / "person 1" / "10.png"], tmp_path / "b.stscq", model)
    only = tmp_path / "only"
    only.mkdir()
    (only / "a.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="1 images, all unusable"):
        compress([only], tmp_path / "b.stscq", model)
    assert not (tmp_path / "b.stscq").exists()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on(faces, model, tmp_path):
    out, journal = tmp_path / "a.stscq", tmp_path / ".partial-a.stscq.jsonl"
    command = [sys.executable, "-m", "stscq.cli", "compress", str(faces), "-o", str(out), "--model", str(model)]
    for lines in (1, 200):
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < lines):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if not journal.exists():
            break  # it was faster
    for name in ("a", "b"):
        (tmp_path / f"{name}.stscq").unlink(missing_ok=True)
        assert compress([faces], tmp_path / f"{name}.stscq", model, aligned=False) == 0  # a store is aligned anyway
    assert out.read_bytes() == (tmp_path / "b.stscq").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.stscq", "b.stscq"]


def test_what_is_left_of_a_killed_run_is_used_as_far_as_it_fits(photos, model, tmp_path):
    """Every cut of both files, as a kill or a crash of the machine may leave them."""
    codec = Codec.load(model)
    sources = list_sources([str(photos)])[:5]
    payloads = codec.payloads(codec.quantise(np.stack([np.asarray(Image.open(s.place)) for s in sources])))
    out = tmp_path / "a.stscq"
    data, journal = tmp_path / ".partial-a.stscq", tmp_path / ".partial-a.stscq.jsonl"

    def write(number, job="x"):
        with resumable_archive(out, {"job": job}, b"0123456789", sources, force=True) as archive:
            had = len(archive.done)
            for source, payload in list(zip(sources, payloads, strict=True))[had:number]:
                archive.add(commands_done(source, payload), payload)
            archive.save()
            if number < len(sources):
                raise InterruptedError
        return had

    assert write(5) == 0
    whole = out.read_bytes()
    with pytest.raises(StscqError):
        write(4)
    left = data.read_bytes(), journal.read_bytes()
    for cut in [*range(0, len(left[0]), 3), len(left[0])]:
        data.write_bytes(left[0][:cut])
        journal.write_bytes(left[1])
        assert write(5) <= 4
        assert out.read_bytes() == whole
    for cut in range(0, len(left[1]), 7):
        data.write_bytes(left[0])
        journal.write_bytes(left[1][:cut])
        assert write(5) <= 4
        assert out.read_bytes() == whole
    for job, same in (("x", 4), ("y", 0)):  # another selection or model starts anew
        data.write_bytes(left[0])
        journal.write_bytes(left[1])
        assert write(5, job) == same
    with ExitStack() as both:
        both.enter_context(resumable_archive(tmp_path / "b", {}, b"0123456789", sources))
        with pytest.raises(StscqError, match="another process"):
            both.enter_context(resumable_archive(tmp_path / "b", {}, b"0123456789", sources))


def commands_done(source, payload):
    from stscq.codec.files.resumable import ProcessedImage

    return ProcessedImage(source.name, source.key(), len(payload), "", 100)


def test_a_photo_that_changed_since_is_read_again(photos, model, tmp_path):
    own = shutil.copytree(photos, tmp_path / "photos")
    sources = list_sources([str(own)])

    def interrupted():
        with resumable_archive(tmp_path / "a", {}, b"0123456789", sources) as archive:
            for source in sources[:4]:
                archive.add(commands_done(source, b"12"), b"12")
            archive.save()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    os.utime(sources[2].place, (1, 1))
    with resumable_archive(tmp_path / "a", {}, b"0123456789", sources) as archive:
        assert [image.name for image in archive.done] == [source.name for source in sources[:2]]


def test_pipes(photos, model):
    photo = (photos / "person 0" / "3.png").read_bytes()
    packed = stscq("compress", "-", "-o", "-", "--aligned", "--model", model, input=photo)
    assert packed.returncode == 0, packed.stderr
    assert len(packed.stdout) < 20
    picture = stscq("decompress", "-", "-o", "-", "--model", model, input=packed.stdout)
    assert picture.stdout.startswith(b"\x89PNG")


def test_a_reader_that_goes_away_is_one_line(photos, model):
    command = [sys.executable, "-m", "stscq.cli", "compress", photos, "-o", "-", "--aligned", "--model", model]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        told = process.stderr.read().decode()
    assert (process.returncode, told) == (1, "error: standard output was closed by what reads it\n")


def test_an_archive_to_a_pipe(photos, model, tmp_path, capfdbinary):
    assert compress([photos], "-", model) == 0
    written, told = capfdbinary.readouterr()
    compress([photos], tmp_path / "a.stscq", model)
    assert written == (tmp_path / "a.stscq").read_bytes()
    assert b'"images": 60' in told


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("compress", "nothing", "-o", "x"), 1, "error: nothing: no such file or folder"),
        (("compress", "{photos}/.notes.txt", "-o", "x"), 1, ".notes.txt: not a readable image"),
        (("compress", "{photos}/person 0/1.png", "-o", "{photos}"), 1, "a folder; name the file"),
        (("compress", "{photos}", "-o", "/proc/x/y"), 1, "/proc/x/y: cannot be written"),
        (("decompress", "{photos}/.notes.txt", "-o", "x"), 1, "notes.txt: not a compressed image"),
        (("decompress", "nothing", "-o", "x"), 1, "nothing: No such file"),
        (("compress", "{photos}"), 2, "Missing option '--out'"),
        (("verify", "{photos}/.notes.txt"), 1, "notes.txt: not a compressed image"),
    ],
)
def test_errors_are_one_line_that_names_the_file(photos, model, tmp_path, capsys, monkeypatch, arguments, code, words):
    filled = [argument.format(photos=photos) for argument in arguments]
    if code != 2:
        filled += ["--model", model]
    if arguments[0] == "compress" and "person" not in filled[1]:
        filled += ["--aligned"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stscq", *map(str, filled)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr()
    if isinstance(ended.value.code, str):  # what Python prints on standard error, and ends with 1
        assert (code, told.err) == (1, "")
        assert words in ended.value.code
        assert "\n" not in ended.value.code
    else:
        assert ended.value.code == code
        assert words in told.err
    assert not list(tmp_path.iterdir())


def test_inspect_and_verify(photos, bundles, model, tmp_path, capsys):
    compress([photos], tmp_path / "a.stscq", model)
    capsys.readouterr()
    commands.inspect([str(tmp_path / "a.stscq")], model, names=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    parts = ("payload bytes", "checksum bytes", "index bytes", "header and footer bytes")
    assert sum(told[part] for part in parts) == told["bytes"] == (tmp_path / "a.stscq").stat().st_size
    assert told["checksum bytes"] == 2 * told["images"] == 120
    assert len(told["names"]) == 60
    commands.inspect([str(tmp_path / "a.stscq")], None, names=False, as_json=True)
    assert json.loads(capsys.readouterr().out)["bundle"] is None

    files = [str(tmp_path / "a.stscq"), str(model)]
    assert commands.verify(files, model, as_json=False) == 0
    with pytest.raises(WrongModelError, match=r"a\.stscq: written with model"):
        commands.inspect(files[:1], bundles["global"], names=False, as_json=True)
    changed = bytearray((tmp_path / "a.stscq").read_bytes())
    changed[17] ^= 4
    (tmp_path / "b.stscq").write_bytes(changed)
    for known in (model, None):
        assert commands.verify([str(tmp_path / "b.stscq"), *files[:1]], known, as_json=True) == 1
        lines = capsys.readouterr().out.splitlines()[-2:]
        assert "b.stscq: person 0/0.png: damaged" in json.loads(lines[0])["problem"]
        assert json.loads(lines[1])["problem"] is None


def test_names(photos, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        folder.mkdir()
        (folder / "1.jpg").write_bytes(b"x")
    assert [source.name for source in list_sources([str(a), str(b)])] == ["a/1.jpg", "b/1.jpg"]
    assert [s.name for s in list_sources([str(a / "1.jpg"), str(b / "1.jpg")])] == ["a/1.jpg", "b/1.jpg"]
    assert picture_paths(["a/1.jpg", "a/2.jpg", "a/2.png"]) == {
        "a/1.jpg": "a/1.png", "a/2.jpg": "a/2.jpg.png", "a/2.png": "a/2.png.png",
    }  # fmt: skip


def test_the_bundle_that_wrote_a_file_is_found(bundles, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(find.stscq, "__file__", str(tmp_path / "stscq" / "__init__.py"))
    place = Path("models/demo/titok_s/bundle")
    shutil.copytree(bundles["switchable"], place / "token_specific" / "seed1")
    shutil.copytree(bundles["global"], place / "global" / "seed1")
    wanted = Codec.load(bundles["global"]).bundle.fingerprint
    assert [bundle.folder.parts[-2] for bundle in find.bundles_of(wanted[:4])] == ["global"]
    (place / "global/seed1/bundle.json").write_text("{")
    with pytest.raises(BundleError, match=f"no model with fingerprint {wanted[:4].hex()}"):
        find.bundles_of(wanted[:4])


def test_of_two_models_that_begin_alike_the_one_that_wrote_a_file_is_found(bundles, pictures, tmp_path, monkeypatch):
    """The file holds two bytes of the fingerprint; its checksum knows the others."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(find.stscq, "__file__", str(tmp_path / "stscq" / "__init__.py"))
    codec = Codec.load(bundles["global"])
    prefix = codec.bundle.fingerprint[:2].hex()
    salts = ({**codec.bundle.description, "salt": i} for i in range(2**22))
    twin = next(said for said in salts if fingerprint_of(said).startswith(prefix))
    for name, said in (("a", {**twin, "fingerprint": fingerprint_of(twin)}), ("b", codec.bundle.description)):
        shutil.copytree(bundles["global"], Path("models/demo/x/bundle") / name / "seed1")
        (Path("models/demo/x/bundle") / name / "seed1/bundle.json").write_text(json.dumps(said))
    Path("file").write_bytes(codec.encode(pictures[:1])[0])
    assert len(find.bundles_of(codec.bundle.fingerprint[:2])) == 2
    assert CompressedFile("file").codec(None).bundle.fingerprint == codec.bundle.fingerprint
    with pytest.raises(BitstreamError, match="file: damaged: the checksum does not fit"):
        CompressedFile("file").codec(Path("models/demo/x/bundle/a/seed1"))
    Path("file").write_bytes(Path("file").read_bytes() + b"x")
    with pytest.raises(BitstreamError, match="file: damaged: the checksum does not fit"):
        CompressedFile("file").codec(None)


def test_no_picture_is_written_before_all_files_of_one_image_were_looked_at(photos, model, tmp_path):
    for name in ("a", "b"):
        compress([photos / "person 0" / "3.png"], tmp_path / f"{name}.stscq", model)
    content = bytearray((tmp_path / "b.stscq").read_bytes())
    content[-1] ^= 1
    (tmp_path / "b.stscq").write_bytes(content)
    files = [str(tmp_path / "a.stscq"), str(tmp_path / "b.stscq")]
    with pytest.raises(BitstreamError, match=r"b\.stscq: damaged"):
        commands.decompress(files, str(tmp_path / "out"), model, [], None, True)
    assert not (tmp_path / "out").exists()


def test_one_image_cannot_be_verified_without_its_model_and_an_archive_can(photos, model, tmp_path, monkeypatch):
    compress([photos / "person 0" / "3.png"], tmp_path / "one", model)
    compress([photos], tmp_path / "many", model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(find.stscq, "__file__", str(tmp_path / "stscq" / "__init__.py"))
    assert "symbols were not looked at" in inspect.verify("many", None)["checked"]
    assert inspect.describe("one", None)["bundle"] is None
    with pytest.raises(BundleError, match="no model with fingerprint"):
        inspect.verify("one", None)
