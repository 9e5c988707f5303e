"""RecordIO written here byte by byte, as dmlc's writer does, and read back; damage of every kind."""

import struct
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stscq.data.pixels import decode
from stscq.data.recordio import MAGIC_BYTES, open_training_set, parse, read_raw
from stscq.errors import DataError


def write_record(file, data):
    """One record as dmlc-core's RecordIOWriter writes it: cut at every aligned magic word."""
    cuts = [i for i in range(0, len(data) - 3, 4) if data[i : i + 4] == MAGIC_BYTES]
    edges = [-4, *cuts, len(data)]
    parts = [data[a + 4 : b] for a, b in pairwise(edges)]
    for i, part in enumerate(parts):
        kind = 0 if len(parts) == 1 else 1 if i == 0 else 3 if i == len(parts) - 1 else 2
        file.write(MAGIC_BYTES + struct.pack("<I", kind << 29 | len(part)) + part + b"\0" * (-len(part) % 4))


def packed(labels, image=b""):
    """An IRHeader with one label, or with several."""
    if len(labels) == 1:
        return struct.pack("<IfQQ", 0, labels[0], 0, 0) + image
    return struct.pack("<IfQQ", len(labels), 0, 0, 0) + np.array(labels, "<f4").tobytes() + image


def write_training_set(folder, people):
    """InsightFace's layout: record 0 says where images end, then the images, then one record a person."""
    folder.mkdir(exist_ok=True)
    images = [(label, image) for label, person in enumerate(people) for image in person]
    end = len(images) + 1
    records = [packed([end, end + len(people)]), *(packed([label], image) for label, image in images)]
    records += [packed([1, 2]) for _ in people]
    with (folder / "train.rec").open("wb") as file, (folder / "train.idx").open("w") as index:
        for number, record in enumerate(records):
            index.write(f"{number}\t{file.tell()}\n")
            write_record(file, record)
    (folder / "property").write_text(f"{len(people)},112,112\n")


@pytest.fixture(scope="module")
def training_set(tmp_path_factory):
    random = np.random.default_rng(0)
    people = [
        [cv2.imencode(".jpg", random.integers(0, 255, (112, 112, 3), np.uint8))[1].tobytes() for _ in range(n)]
        for n in (3, 2)
    ]
    folder = tmp_path_factory.mktemp("set") / "casia"
    write_training_set(folder, people)
    return folder, people


def test_round_trip(training_set):
    folder, people = training_set
    entries = open_training_set(folder)
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    images = [decode(image) for person in people for image in person]
    assert all(np.array_equal(entry.image(112), image) for entry, image in zip(entries, images, strict=True))
    assert entries[0].image(64).shape == (64, 64, 3)
    assert [entry.label for entry in entries] == [0, 0, 0, 1, 1]


@given(st.lists(st.sampled_from([MAGIC_BYTES, b"\0\0\0\0", b"abc", b"abcd"]), max_size=8).map(b"".join))
def test_records_that_hold_the_magic_word(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("parts") / "r.rec"
    with path.open("wb") as file:
        write_record(file, b"first")
        write_record(file, data)
    with path.open("rb") as file:
        assert read_raw(file, 0) == b"first"
        assert read_raw(file, 16) == data


def test_several_labels():
    record = parse(packed([7.0, 8.0, 9.0], b"image"))
    assert record.labels.tolist() == [7, 8, 9]
    assert record.image == b"image"


def test_truncated_and_overwritten_records(training_set, tmp_path):
    folder, _ = training_set
    last = open_training_set(folder)[-1].offset
    data = bytearray((folder / "train.rec").read_bytes())
    cut = tmp_path / "cut.rec"
    cut.write_bytes(data[: last + 100])
    with cut.open("rb") as file, pytest.raises(DataError, match="truncated: 92 of"):
        read_raw(file, last)
    with cut.open("rb") as file, pytest.raises(DataError, match="no record starts there"):
        read_raw(file, last + 4)
    data[last + 7] |= 0x1F  # a length of half a gigabyte
    cut.write_bytes(data)
    with cut.open("rb") as file, pytest.raises(DataError, match="more than"):
        read_raw(file, last)
    with pytest.raises(DataError, match="labels do not fit"):
        parse(struct.pack("<IfQQ", 1 << 31, 0, 0, 0))


def test_missing_files_and_bad_indexes(training_set, tmp_path):
    with pytest.raises(DataError, match=r"train\.idx: not a readable RecordIO index"):
        open_training_set(tmp_path)
    (tmp_path / "train.idx").write_text("0\t0\n1 minus\n")
    with pytest.raises(DataError, match=r"train\.idx, line 2: expected a record number"):
        open_training_set(tmp_path)
    (tmp_path / "train.idx").write_text("0\t0\n1\t64\n1\t128\n")
    with pytest.raises(DataError, match=r"train\.idx, line 3: record 1 is there already"):
        open_training_set(tmp_path)
    (tmp_path / "train.idx").write_text(f"0\t{'9' * 5000}\n")
    with pytest.raises(DataError, match=r"train\.idx, line 1: expected a record number"):
        open_training_set(tmp_path)
    (tmp_path / "train.idx").write_text(f"0\t0\n1\t{'9' * 18}\n")
    with pytest.raises(DataError, match=r"train\.rec: record 0"):
        open_training_set(tmp_path)
    for label in (float("nan"), float("inf")):
        with (tmp_path / "train.rec").open("wb") as file:
            write_record(file, packed([label]))
        with pytest.raises(DataError, match=r"train\.rec: record 0"):
            open_training_set(tmp_path)
