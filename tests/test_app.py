"""The page of `stscq app`: what it shows, computed without Gradio. tests/test_app_page.py opens it in a browser."""

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import skimage.data
from PIL import Image
from typer.testing import CliRunner

from stscq import cli
from stscq.app import classic, commands, models
from stscq.app.classic import best_classic, files_up_to
from stscq.app.models import models_at_hand, most_bytes, without_repeats
from stscq.app.qr import LONGEST, from_qr, to_qr
from stscq.app.show import enlarged, reopen, show
from stscq.app.uploads import read_upload
from stscq.codec.api import Codec
from stscq.codec.bundle import find
from stscq.data.photos import read_face
from stscq.data.store import open_store
from stscq.errors import BitstreamError, BundleError, DataError, PeerError, StscqError, WrongModelError
from stscq.evaluation.peers.calibrate import candidates
from stscq.evaluation.peers.codecs import CODECS
from stscq.evaluation.peers.point import decode_face, encode_face
from stscq.recognition.base import unit
from tests.codec.conftest import VARIANTS, make_bundle, pack

ASTRONAUT = Path(skimage.data.__file__).parent / "astronaut.png"


class Pixels:
    """A judge that costs nothing: small, centred pixels."""

    def embed(self, images):
        small = np.stack([cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA) for image in images])
        return unit(small.reshape(len(images), -1).astype(np.float64) - 100.5)


@pytest.fixture(scope="session")
def app_models(faces, tmp_path_factory):
    """Two bundles: of 8 tokens of 8 entries in 4 groups, and of 64 tokens of 16."""
    root, pictures = tmp_path_factory.mktemp("app"), np.array(open_store(faces).images)
    return [make_bundle(root / name / "seed1", pictures, *VARIANTS[name]) for name in ("switchable", "token_specific")]


@pytest.fixture
def codec(app_models):
    return Codec.load(app_models[0])


def png(picture):
    found = io.BytesIO()
    Image.fromarray(picture).save(found, "PNG")
    return found.getvalue()


def test_what_is_shown_of_a_photo(app_models, codec, tmp_path):
    found = show(ASTRONAUT.read_bytes(), codec, judge := Pixels())
    assert (found.face == read_face(ASTRONAUT, 32, aligned=False)).all()
    commands_file = tmp_path / "face.stscq"
    Image.fromarray(found.face).save(tmp_path / "face.png")
    pack(tmp_path / "face.png", out=commands_file, model=app_models[0])
    assert found.file == commands_file.read_bytes()
    assert (found.picture == codec.decode([found.file])[0]).all()
    a, b = judge.embed(np.stack([found.face, found.picture])).astype(float)
    assert found.cosine == pytest.approx(a @ b, abs=1e-6)
    assert found.cosine < 0.999
    assert len(found.classic.chosen.file) > len(found.file)  # 8 bytes: no header of theirs is so small
    assert found.classic.picture.shape == found.picture.shape == (32, 32, 3)


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (b"", "not a readable image"),
        (b"words", "not a readable image"),
        (png(np.zeros((90, 90, 3), np.uint8)), "no face"),
    ],
)
def test_what_is_no_face_is_told_in_one_line(codec, photo, words):
    with pytest.raises(DataError, match=words) as problem:
        show(photo, codec, Pixels())
    assert "\n" not in str(problem.value)


def test_the_best_classic_file_of_at_most_so_many_bytes(codec, monkeypatch):
    """Against every candidate of two codecs, tried one by one."""
    two = {name: CODECS[name] for name in ("jpeg", "webp")}
    monkeypatch.setattr(classic, "CODECS", two)
    face, judge = read_face(ASTRONAUT, 32, aligned=False), Pixels()
    every = [(name, point, encode_face(name, point, face)) for name in two for point in candidates(name, face[None])]
    original = judge.embed(face[None])[0]

    def best(most):
        fitting = [one for one in every if len(one[2]) <= most]
        cosines = [judge.embed(decode_face(name, file, 32)[None])[0] @ original for name, _, file in fitting]
        return fitting[int(np.argmax(cosines))], max(cosines)

    smallest = min(len(file) for _, _, file in every)
    for most, expected in ((8, best(smallest)), (200, best(200)), (400, best(400))):
        found = best_classic(face, most, judge)
        assert found.cosine == pytest.approx(expected[1], abs=1e-6)
        assert len(found.chosen.file) <= max(most, smallest)
        assert found.chosen.file == expected[0][2]
        assert (found.picture == decode_face(*expected[0][::2], 32)).all()
    assert best_classic(face, 400, judge).cosine > best_classic(face, 8, judge).cosine


def test_codecs_that_are_not_installed_are_passed_over(monkeypatch):
    def missing(*_):
        raise PeerError("not installed")

    monkeypatch.setattr(classic, "encode_face", missing)
    assert list(files_up_to("jpeg", read_face(ASTRONAUT, 32, aligned=False), 100)) == []


@pytest.mark.parametrize("size", [1, 5, 8, 21, 22, 60, 200, 421, LONGEST])
def test_a_qr_code_comes_back(size):
    content = np.random.default_rng(size).bytes(size)
    code = to_qr(content)
    assert set(np.unique(code)) == {0, 255}
    assert (code[:32] == 255).all()  # the quiet zone of four modules
    assert (code[32:40, 32:88] == 0).all()  # the upper side of a finder pattern, seven modules
    assert from_qr(code) == content
    k = len(code)
    corners = np.float32([[60, 40], [k - 20, 70], [k - 40, k - 30], [30, k - 10]])  # as a camera sees it
    way = cv2.getPerspectiveTransform(np.float32([[0, 0], [k, 0], [k, k], [0, k]]), corners)
    seen = cv2.GaussianBlur(cv2.warpPerspective(code, way, (k + 40, k + 40), borderValue=200), (3, 3), 0)
    assert size == LONGEST or from_qr(np.repeat(seen[..., None], 3, axis=2)) == content


def test_a_qr_code_holds_base32():
    """a2 00 ff is 10100 01000 00000 01111 1111(0): U I A P 6. Zeros and bytes above 127 are what binary codes lose."""
    text, *_ = cv2.QRCodeDetectorAruco().detectAndDecode(to_qr(b"\xa2\x00\xff"))
    assert text == "UIAP6"


def test_what_is_no_qr_code_of_ours():
    with pytest.raises(BitstreamError, match="no QR code found"):
        from_qr(np.full((300, 300, 3), 255, np.uint8))
    link = np.pad(cv2.QRCodeEncoder.create().encode("https://example.org/"), 4, constant_values=255)
    with pytest.raises(BitstreamError, match="not of a compressed face"):
        from_qr(enlarged(link, 300))
    with pytest.raises(BitstreamError, match="at most 2,048"):
        to_qr(bytes(LONGEST + 1))


def test_models_go_from_few_bytes_to_many_without_their_seeds(app_models, tmp_path, monkeypatch):
    few, many = models_at_hand(app_models[::-1])
    assert (few.folder, many.folder) == tuple(app_models)
    assert most_bytes(few) == 5 + 4  # 8 tokens of 3 bits and 2 bits for the group: 26 bits
    assert most_bytes(many) == 5 + 32  # 64 tokens of 4 bits
    place = tmp_path / "models/p/titok/bundle/switchable"
    place.mkdir(parents=True)
    for seed in (2, 1):
        (place / f"seed{seed}").symlink_to(app_models[seed - 1])
    monkeypatch.setattr(find, "roots", lambda: [tmp_path])
    monkeypatch.setattr(find, "pulled_folders", dict)
    monkeypatch.setattr(find, "SHIPPED", tmp_path / "none")
    assert [bundle.folder.name for bundle in models_at_hand([])] == ["seed1", "seed2"]
    assert [bundle.folder.name for bundle in without_repeats(models_at_hand([]))] == ["seed1"]
    monkeypatch.setattr(find, "roots", lambda: [tmp_path / "empty"])
    monkeypatch.setattr(find, "SHIPPED", app_models[1])
    assert [bundle.folder for bundle in models_at_hand([])] == [app_models[1]]
    with pytest.raises(BundleError, match="not a model bundle"):
        models_at_hand([tmp_path])


def test_a_file_and_its_qr_code_open_again(app_models):
    bundles = models_at_hand(app_models)
    for folder in app_models:
        codec = Codec.load(folder)
        face = read_face(ASTRONAUT, 32, aligned=False)
        (file,) = codec.encode(face[None])
        for content in (file, png(to_qr(file))):
            opened = reopen(content, bundles, lambda bundle: Codec.load(bundle.folder))
            assert opened.file == file
            assert opened.bundle.folder == folder
            assert (opened.picture == codec.decode([file])[0]).all()
        damaged = file[:-1] + bytes([file[-1] ^ 1])
        with pytest.raises(BitstreamError, match="damaged"):
            reopen(damaged, bundles, lambda bundle: Codec.load(bundle.folder))
        others = [bundle for bundle in bundles if bundle.folder != folder]
        with pytest.raises(BundleError, match="none of the models"):
            reopen(file, others, lambda bundle: Codec.load(bundle.folder))
    with pytest.raises(DataError, match="not a readable image"):
        reopen(b"words", bundles, None)
    with pytest.raises(BitstreamError, match="no QR code"):
        reopen(ASTRONAUT.read_bytes(), bundles, None)


def test_of_models_whose_fingerprints_begin_alike_the_one_that_wrote_it_opens_the_file():
    file = bytes([0xA2, 1, 2, 0, 0])
    other, right, last = (SimpleNamespace(name=name, fingerprint=b"\1\2" + name) for name in (b"a", b"b", b"c"))

    def codec_of(bundle):
        def decode(files):
            if bundle is not right:
                raise WrongModelError("another's")
            return [files[0]]

        return SimpleNamespace(decode=decode)

    assert reopen(file, [other, right, last], codec_of).bundle is right
    assert reopen(file, [other, right], codec_of).bundle is right
    with pytest.raises(WrongModelError):
        reopen(file, [other, last], codec_of)


def test_pixels_become_squares():
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    large = enlarged(picture, 7)
    assert large.shape == (6, 6, 3)
    assert (large[3, 2] == picture[1, 0]).all()
    assert (enlarged(picture, 1) == picture).all()


def test_without_gradio_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delitem(sys.modules, "stscq.app.page", raising=False)
    with pytest.raises(StscqError) as problem:
        commands.serve([], "127.0.0.1", None)
    assert str(problem.value) == 'the page needs Gradio: pip install "stscq[app]"'


def test_of_pulled_models_the_newest_commit_is_shown(app_models, tmp_path, monkeypatch):
    few, many = (Path(folder) for folder in app_models)
    beside = [tmp_path / name for name in ("a", "b")]  # which are no seeds
    for place, folder in zip(beside, app_models, strict=True):
        place.symlink_to(folder)
    bundles = models_at_hand([*beside, few, many])
    monkeypatch.setattr(models, "pulled_folders", lambda: {few: str(few), many: "owner/name"})
    shown = [bundle.folder for bundle in without_repeats(bundles)]
    assert set(shown) == {*beside, many}


def test_without_a_model_one_line_says_so(monkeypatch):
    monkeypatch.setattr(models, "all_bundles", list)
    with pytest.raises(BundleError, match="no model can be read"):
        models_at_hand([])


@pytest.mark.parametrize("name", ["secret", "up/../../secret", "link", "folder/up", "pipe", "gone", "large"])
def test_only_what_was_uploaded_is_read(name, tmp_path, monkeypatch):
    uploads = tmp_path / "up"
    uploads.mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (uploads / "link").symlink_to(tmp_path / "secret")
    (uploads / "large").write_bytes(bytes(9))
    (uploads / "mine").write_bytes(b"mine")
    os.mkfifo(uploads / "pipe")
    (uploads / "folder").symlink_to(tmp_path)
    monkeypatch.setattr("stscq.app.uploads.MOST_UPLOADED", 8)
    assert read_upload(str(uploads / "mine"), [uploads, tmp_path / "sample"]) == b"mine"
    assert read_upload(str(tmp_path / "secret"), [uploads, tmp_path / "secret"]) == b"secret"
    with pytest.raises(DataError, match="not uploaded here"):
        read_upload(f"{uploads}/mine\0", [uploads])
    place = tmp_path / name if "secret" in name else uploads / name
    words = {"pipe": "deleted here", "gone": "deleted here", "folder/up": "deleted here", "large": "more than"}
    with pytest.raises(DataError, match=words.get(name, "not uploaded here")):
        read_upload(str(place), [uploads])


def test_this_machine_alone_unless_said_otherwise(monkeypatch):
    asked = []
    monkeypatch.setattr(commands, "serve", lambda *arguments: asked.append(arguments))
    monkeypatch.delenv("STSCQ_MODEL", raising=False)
    runner = CliRunner()
    assert runner.invoke(cli.app, ["app"]).exit_code == 0
    options = ["--model", "a", "--model", "b", "--host", "0.0.0.0", "--port", "8000"]
    assert runner.invoke(cli.app, ["app", *options]).exit_code == 0
    assert runner.invoke(cli.app, ["app"], env={"STSCQ_MODEL": "my models/c"}).exit_code == 0
    assert asked == [
        ([], "127.0.0.1", None),
        (["a", "b"], "0.0.0.0", 8000),
        (["my models/c"], "127.0.0.1", None),
    ]
