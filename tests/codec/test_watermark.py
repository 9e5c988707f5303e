"""The mark: what it says is found again, nothing is found where there is none, and who asks for none gets none."""

import io
import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stscq.codec import commands, marks
from stscq.codec.api import Codec
from stscq.codec.files import statement
from stscq.codec.files.compressed_file import CompressedFile
from stscq.codec.files.write import origin_of
from stscq.codec.watermark import detect as detector
from stscq.codec.watermark.detect import FALSE, detect, log_bound
from stscq.codec.watermark.embed import VERSION, embed, mark
from stscq.codec.watermark.golay import WORDS, Message, as_message, decode, encode, message_of
from stscq.codec.watermark.tiles import FRAME, OFFSETS, STEP, VECTORS, code_bits
from stscq.evaluation.quality import psnr
from tests.codec.conftest import refused, unpack

MESSAGES = st.builds(Message, st.integers(0, 15), st.integers(0, 2**20 - 1))
FINGERPRINT = bytes.fromhex("df63d8") + bytes(29)
MESSAGE = Message(VERSION, 0xDF63D)


@pytest.fixture(scope="module")
def frames(pictures):
    """Ten faces at 64 x 64 pixels, of ten people."""
    return np.stack([cv2.resize(picture, (FRAME, FRAME), interpolation=cv2.INTER_CUBIC) for picture in pictures[::40]])


def test_the_code_is_golays():
    assert len({tuple(word) for word in WORDS}) == 4096
    differing = (24 - WORDS @ WORDS[0]) / 2  # of a linear code all distances are those from one word
    numbers, counts = np.unique(differing, return_counts=True)
    assert dict(zip(numbers, counts, strict=True)) == {0: 1, 8: 759, 12: 2576, 16: 759, 24: 1}


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.lists(st.integers(0, 23), max_size=3), st.lists(st.integers(0, 23), max_size=3))
def test_three_wrong_bits_in_each_word_are_corrected(message, first, second):
    bits = encode(message)
    for place in {*first, *(24 + place for place in second)}:
        bits[place] *= -1
    numbers, agreements = decode(bits[None])
    assert as_message(int(numbers[0])) == message
    assert agreements[0] == 48 - 2 * len({*first, *(24 + place for place in second)})


def test_a_message_is_how_the_fingerprint_begins():
    assert message_of(FINGERPRINT, VERSION) == MESSAGE
    assert MESSAGE.digits == "df63d"
    assert Message(1, 5).digits == "00005"


def test_patterns_are_orthonormal_and_every_code_bit_has_its_share():
    flat = VECTORS.reshape(len(VECTORS), -1)
    assert flat @ flat.T == pytest.approx(np.eye(len(VECTORS)))
    assert flat.sum(1) == pytest.approx(0)  # the mark changes no tile's mean
    counts = np.bincount(code_bits(48).ravel())
    assert len(counts) == 48
    assert counts.max() - counts.min() == 1


@pytest.mark.parametrize("size", [32, 64, 100, 256])
def test_the_mark_is_found_at_any_size_and_is_small(frames, size):
    pictures = np.stack([cv2.resize(frame, (size, size), interpolation=cv2.INTER_CUBIC) for frame in frames[:4]])
    marked = np.stack([embed(picture, MESSAGE) for picture in pictures])
    assert psnr(pictures, marked).min() > 40
    for picture in marked:
        assert detect(picture).message == MESSAGE
        assert detect(picture).log_chance < np.log(1e-50)


def test_the_same_mark_twice_is_the_same_picture_and_grey_stays_grey(frames):
    once = mark(frames[0], FINGERPRINT)
    assert (once == mark(frames[0].copy(), FINGERPRINT)).all()
    assert (once != frames[0]).any()
    assert (once[..., 0] == once[..., 1]).all()
    assert (once[..., 0] == once[..., 2]).all()


@settings(max_examples=30, deadline=None)
@given(MESSAGES, st.integers(0, 255), st.integers(0, 60), st.integers(0, 2**32 - 1))
def test_any_message_in_any_picture(message, level, spread, seed):
    noise = np.random.default_rng(seed).normal(level, spread, (FRAME, FRAME, 3))
    picture = np.clip(cv2.GaussianBlur(noise, (0, 0), 2) * 0.5 + level * 0.5, 0, 255).astype(np.uint8)
    found = detect(embed(picture, message))
    assert found.found
    assert found.message == message


def saved(picture, kind, **settings):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **settings)
    return np.asarray(Image.open(file).convert("RGB"))


def sized(picture, side):
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def doubled_from_the_corner(picture):
    """As libvips enlarges: half a pixel off from where others put it."""
    twice = np.array([[2.0, 0, 0], [0, 2, 0]])
    return cv2.warpAffine(picture, twice, (128, 128), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize(
    "change",
    [
        lambda p: saved(p, "PNG"),
        lambda p: saved(p, "JPEG", quality=90),
        lambda p: saved(p, "JPEG", quality=75),
        lambda p: saved(p, "JPEG", quality=50),
        lambda p: saved(p, "WEBP", quality=80),
        lambda p: sized(p, 32),
        lambda p: sized(p, 128),
        doubled_from_the_corner,
        lambda p: p[3:61, 5:63],
        lambda p: sized(p[3:61, 5:63], 64),
        lambda p: p[:, 6:],
    ],
    ids=[
        "png",
        "jpeg90",
        "jpeg75",
        "jpeg50",
        "webp80",
        "half",
        "double",
        "double_moved",
        "cropped",
        "cropped_enlarged",
        "one_side",
    ],
)
def test_the_mark_outlives_what_programs_do(frames, change):
    for frame in frames:
        found = detect(np.ascontiguousarray(change(mark(frame, FINGERPRINT))))
        assert found.found
        assert found.message == MESSAGE


def test_nothing_is_found_where_nothing_is(frames, pictures, monkeypatch):
    random = np.random.default_rng(0)
    others = [np.full((FRAME, FRAME, 3), level, np.uint8) for level in (0, 100, 255)]
    others += [random.integers(0, 256, (size, size, 3), np.uint8) for size in (8, 58, 64, 200)]
    others += [np.zeros((64, 200, 3), np.uint8), np.tile(np.uint8([[0], [255]]), (32, 64))[..., None].repeat(3, 2)]
    for picture in (*frames, *pictures[::10], *others):
        assert not detect(picture).found
    marked = mark(frames[0], FINGERPRINT)
    monkeypatch.setattr(detector, "OFFSETS", STEP * random.random(OFFSETS.shape))
    assert not detect(marked).found  # by another key


@pytest.mark.parametrize("count", [60, 128])
def test_the_bound_holds_for_even_phases_and_is_not_far_off(count):
    phases = np.random.default_rng(count).random((200_000, count), np.float32)
    sums = np.cos(2 * np.pi * phases).sum(1)
    for agreement in np.sqrt(count / 2) * np.array([1.0, 2.0, 3.0, 4.0]):
        happened = (sums >= agreement).mean()
        bound = np.exp(log_bound(np.array([agreement]), np.array([count])))[0]
        assert happened <= bound
        assert bound < max(40 * happened, 1e-3)
    assert log_bound(np.array([-5.0, 0.0]), np.array([count, count])).tolist() == [0, 0]


def test_files_are_marked_unless_nobody_wants_it_and_arrays_never(packed, pictures, model):
    codec = Codec.load(model)
    expected = codec.reconstruct(codec.quantise(pictures[:1]))[0]
    assert unpack("one.stscq", out="marked.png", model=model) == 0
    assert commands.decompress(["one.stscq"], "plain.png", model, [], 1, True, watermark=False) == 0
    marked, plain = (np.asarray(Image.open(name)) for name in ("marked.png", "plain.png"))
    assert (plain == expected).all()
    assert (marked == mark(expected, codec.bundle.fingerprint)).all()
    assert (plain != marked).any()
    assert detect(marked).message == message_of(codec.bundle.fingerprint, VERSION)
    assert (codec.decode([Path("one.stscq").read_bytes()])[0] == expected).all()
    refused("there already", commands.decompress, ["one.stscq"], "marked.png", model, [], 1, True, watermark=False)
    refused("there already", unpack, "one.stscq", out="plain.png", model=model)


def test_standard_output_is_marked_like_a_file(packed, model, capfdbinary):
    unpack("one.stscq", out="one.png", model=model)
    capfdbinary.readouterr()
    unpack("one.stscq", out="-", model=model)
    assert capfdbinary.readouterr().out == Path("one.png").read_bytes()


def test_same_pictures_with_any_number_of_workers(packed, model):
    for workers in (1, 3):
        commands.decompress(["D.stscq"], f"out{workers}", model, [], workers, True)
    names = sorted(path.relative_to("out1") for path in Path("out1").rglob("*.png"))
    assert len(names) == 4
    for name in names:
        assert Path("out1", name).read_bytes() == Path("out3", name).read_bytes()


@pytest.mark.parametrize(("name", "kind"), [("one.png", "PNG"), ("one.jpg", "JPEG"), ("one.JPEG", "JPEG")])
@pytest.mark.parametrize("watermark", [True, False])
def test_a_picture_says_that_a_machine_made_it(packed, model, name, kind, watermark, capsys):
    decompress = [["one.stscq"], name, model, [], 1, True]
    assert commands.decompress(*decompress, watermark=watermark) == 0
    with Image.open(name) as picture:
        assert picture.format == kind
        xmp = ElementTree.fromstring(picture.info["xmp"])
        assert detect(np.asarray(picture)).found == watermark
    (described,) = xmp.iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    key = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert described.attrib[key] == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    assert statement.DESCRIPTION in "".join(xmp.itertext())
    opened = CompressedFile("one.stscq")
    made_of = opened.origin(Codec.load(model).bundle, 0)
    assert origin_of(Path(name)) == statement.origin_note(made_of, VERSION if watermark else None)
    capsys.readouterr()
    assert commands.decompress(*decompress, watermark=watermark) == 0
    assert json.loads(capsys.readouterr().out)["there"] == 1


def test_detect_names_the_model_and_says_what_it_looked_at(packed, model, pictures, monkeypatch, capsys):
    bundle = Codec.load(model).bundle
    monkeypatch.setattr(marks, "all_bundles", lambda: [bundle])
    unpack("one.stscq", out="one.png", model=model)
    digits = bundle.fingerprint.hex()[:5]
    capsys.readouterr()
    assert marks.detect(["one.png"], as_json=False) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"one.png: marked: made by stscq decompress, model {digits}... ({bundle.name})")
    assert marks.detect(["one.png", "D/a/0.png"], as_json=True) == 3
    one, other = map(json.loads, capsys.readouterr().out.splitlines())
    assert (one["marked"], one["model"], one["names"]) == (True, digits, [bundle.name])
    assert one["log10 of the chance without a mark, at most"] < np.log10(FALSE)
    assert other == {"file": "D/a/0.png", "marked": False, "problem": None}
    Image.fromarray(pictures[0][:5]).save("small.png")
    assert marks.detect(["D/notes.txt", "nothing", "small.png", "one.png"], as_json=False) == 1
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "error: D/notes.txt: not a readable image",
        "error: nothing: No such file or directory",
        "error: small.png: 32 x 5 pixels; a mark needs 8 x 8",
    ]
    assert told.out.startswith("one.png: marked")


def test_a_mark_of_a_model_or_a_version_that_is_not_known(frames, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(marks, "all_bundles", list)
    Image.fromarray(embed(frames[0], Message(7, 0xABCDE))).save(tmp_path / "x.png")
    assert marks.detect([str(tmp_path / "x.png")], as_json=False) == 0
    said = capsys.readouterr().out
    assert "model abcde... (none at hand)" in said
    assert "mark of version 7, which this program does not know" in said
