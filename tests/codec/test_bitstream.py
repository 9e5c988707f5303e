"""Files and archives: every flipped bit and every cut is noticed; what is not ours is refused, and costs no memory."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stscq.codec.api import Codec
from stscq.codec.bitstream import image_file
from stscq.codec.files import archive
from stscq.codec.files.archive import Archive
from stscq.errors import BitstreamError

MODEL = bytes.fromhex("0123456789abcdef0123")
FINGERPRINT = bytes.fromhex("0123456789abcdef" * 4)
names = st.lists(st.text("abcä/._ 0-9", min_size=1, max_size=12).filter(lambda n: usable(n)), max_size=9, unique=True)


def usable(name):
    try:
        return archive.check_name(name)
    except BitstreamError:
        return False


def make_archive(items):
    head = archive.header(MODEL)
    records = [archive.record(head, i, payload) for i, (_, payload) in enumerate(items)]
    return head + b"".join(records) + archive.tail(head, [n for n, _ in items], [len(p) for _, p in items])


def flips(content):
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_worked_example_of_the_document():
    # CRC-16 of the fingerprint, a2 01 23 and the payload a8 e0, the one of tests/test_packing.py
    assert image_file.write(FINGERPRINT, b"\xa8\xe0").hex() == "a20123785ba8e0"
    assert image_file.crc16(b"123456789") == 0x29B1  # the published check value of CRC-16/CCITT-FALSE


@given(st.binary(max_size=60))
def test_files_come_back(payload):
    assert image_file.read(image_file.write(FINGERPRINT, payload), FINGERPRINT) == payload


@given(st.binary(max_size=80))
def test_random_bytes_are_no_file(content):
    with pytest.raises(BitstreamError):
        image_file.read(content, FINGERPRINT)


def test_every_flipped_bit_and_every_cut_of_a_file_is_noticed(codec, pictures):
    for file in codec.encode(pictures[:3]):
        for changed in flips(file):
            with pytest.raises(BitstreamError):
                codec.decode([changed])
        for size in range(len(file)):
            with pytest.raises(BitstreamError):
                codec.decode([file[:size]])
        with pytest.raises(BitstreamError):
            codec.decode([file + b"\0"])


@settings(max_examples=60, deadline=None)
@given(names, st.data())
def test_archives_come_back(found, data):
    items = [(name, data.draw(st.binary(max_size=30))) for name in found]
    content = make_archive(items)
    opened = Archive(io.BytesIO(content))
    assert list(opened) == items
    assert opened.model == MODEL
    assert len(content) == 16 + sum(len(p) + 2 for _, p in items) + opened.index_bytes + 28
    for number in reversed(range(len(items))):
        assert opened.payload(number) == items[number][1]


def test_every_flipped_bit_and_every_cut_of_an_archive_is_noticed(codec, pictures):
    payloads = codec.payloads(codec.quantise(pictures[:4]))
    content = make_archive([(f"person {i}/1.png", p) for i, p in enumerate(payloads)])
    for changed in [*flips(content), *(content[:size] for size in range(len(content))), content + b"\0"]:
        with pytest.raises(BitstreamError):
            list(Archive(io.BytesIO(changed)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 60))
def test_random_bytes_are_no_archive(content, kept):
    whole = make_archive([("a", b"12"), ("b", b"345")])
    for changed in (content, whole[:kept] + content, content + whole[-kept:]):
        if changed != whole:
            with pytest.raises(BitstreamError):
                list(Archive(io.BytesIO(changed)))


def test_two_images_that_changed_places_are_noticed():
    content = make_archive([("a", b"12"), ("b", b"34")])
    swapped = content[:16] + content[20:24] + content[16:20] + content[24:]
    with pytest.raises(BitstreamError, match="checksum does not fit"):
        list(Archive(io.BytesIO(swapped)))


def forged(plain, packed, number):
    """An archive without records whose checksums fit whatever its index says."""
    head = archive.header(MODEL)
    numbers = archive.struct.pack(">QQI", number, plain, len(packed))
    return head + packed + numbers + zlib.crc32(head + packed + numbers).to_bytes(4, "big") + archive.END


@pytest.mark.parametrize(
    ("plain", "content", "number", "words"),
    [
        (2**40, b"\0", 5, "footer does not fit"),
        (1 << 20, b"\0" * (1 << 24), 5, "another size than the footer"),
        (4, b"\0\0a\0", 2**60, "footer does not fit"),
        (4, b"\0\0a\0", 0, "name every image"),
        (8, b"\0\0\0\0a\0a\0", 2, "same name"),
        (5, b"\0\0\xff\xff\0", 1, "no text"),
        (7, b"\0\0../a\0", 1, "no name for an image"),
        (6, b"\0\0/ab\0", 1, "no name for an image"),
        (4, b"\0\0\n\0", 1, "no name for an image"),
        (4, b"\0\x09a\0", 1, "different sizes"),
    ],
)
def test_an_index_that_lies_is_refused(plain, content, number, words):
    packed = zlib.compress(content)
    with pytest.raises(BitstreamError, match=words):
        Archive(io.BytesIO(forged(plain, packed, number)))


def test_a_monotonous_index_is_stored_plainly():
    items = [(f"{'a' * 2000}/{i}", b"") for i in range(2000)]
    assert list(Archive(io.BytesIO(make_archive(items)))) == items


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a/../b", "..", "a\\b", "a\0b", "a\nb", "ä" * 2100])
def test_names_that_are_refused(name):
    with pytest.raises(BitstreamError):
        archive.check_name(name)


def test_damage_of_several_bits_is_missed_as_rarely_as_a_checksum_of_16_bits_can(codec, pictures):
    """Of 20,000 files with random bytes for a payload, none may pass: 2^-16 of them would by the checksum alone."""
    random = np.random.default_rng(0)
    file = codec.encode(pictures[:1])[0]
    passed = 0
    for _ in range(20_000):
        try:
            codec.payload_of(file[:5] + random.bytes(len(file) - 5))
            passed += 1
        except BitstreamError:
            pass
    assert passed <= 3


def test_another_model_is_told_apart(bundles, pictures):
    a, b = (Codec.load(bundles[name]) for name in ("switchable", "switchable_nn"))
    with pytest.raises(BitstreamError, match=f"this bundle is {b.bundle.fingerprint[:2].hex()}"):
        b.decode(a.encode(pictures[:1]))
