"""Conversion of images into a store: kills, corrupt images, limits."""

from typing import NamedTuple

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from stscq.cli import app
from stscq.data import convert as module
from stscq.data import prepare
from stscq.data.convert import convert
from stscq.data.images import list_images
from stscq.data.pixels import decode, face
from stscq.data.rfw import RfwImage
from stscq.data.store import Row, open_store
from stscq.errors import DataError
from tests.test_recordio import write_training_set
from tests.test_rfw import TEMPLATE


class Memory(NamedTuple):
    """An image whose bytes are at hand."""

    name: str
    data: bytes

    @property
    def row(self):
        return Row(self.name, self.name[0], f"memory {self.name}")

    def image(self, size):
        return face(decode(self.data), size)


def picture(value, size=32):
    return cv2.imencode(".png", np.full((size, size, 3), value, np.uint8))[1].tobytes()


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 4)


def entries(count, corrupt=()):
    return [Memory(f"{i:03d}", b"" if i in corrupt else picture(i)) for i in range(count)]


def entries_of(kind, folder):
    """20 images of any kind, all pixels of image i having the value i; number 2 is corrupt."""
    if kind == "memory":
        return entries(20, {2})
    (folder / "n1").mkdir(parents=True)
    for i in range(20):
        name = folder / "n1" / f"n1_{i:04d}.jpg"
        name.write_bytes(b"\xff\xd8" if i == 2 else cv2.imencode(".jpg", np.full((112, 112), i, np.uint8))[1].tobytes())
    if kind == "images":
        return list_images(folder)
    return [RfwImage(folder, f"n1/n1_{i:04d}.jpg", tuple(TEMPLATE.ravel())) for i in range(20)]


def test_a_record_set_becomes_a_store(tmp_path):
    random = np.random.default_rng(0)
    faces = [cv2.resize(random.integers(0, 255, (4, 4, 3), np.uint8), (112, 112)) for _ in range(5)]
    encoded = [cv2.imencode(".png", face)[1].tobytes() for face in faces]
    write_training_set(tmp_path / "casia", [encoded[:3], encoded[3:]])
    prepare.main(str(tmp_path / "casia"), 112, tmp_path / "store", most_corrupt=0, workers=2)
    images, index = open_store(tmp_path / "store")
    assert np.array_equal(images, np.stack(faces)[..., ::-1])
    assert index.identity.tolist() == ["0", "0", "0", "1", "1"]
    assert index.source[4] == "train.rec, record 5"
    assert not list((tmp_path / "store").glob(".partial*"))


@pytest.mark.parametrize("corrupt", [{0}, {19}, {3, 4, 18}, set(range(15))])
def test_corrupt_images_are_left_out(tmp_path, small_chunks, corrupt):
    assert convert(entries(20, corrupt), tmp_path, 32, most_corrupt=len(corrupt), workers=2) == [
        f"memory {i:03d}: not a readable image" for i in sorted(corrupt)
    ]
    images, index = open_store(tmp_path)
    assert sorted(index.image_id) == [f"{i:03d}" for i in range(20) if i not in corrupt]
    assert images[:, 0, 0, 0].tolist() == [int(name) for name in index.image_id]


def test_too_many_corrupt_images_stop_it(tmp_path, small_chunks):
    with pytest.raises(DataError, match=r"3 unusable images, and 2 may be left out .*: memory 001: not a read"):
        convert(entries(20, {1, 2, 3}), tmp_path, 32, most_corrupt=2, workers=1)
    assert not (tmp_path / "images.npy").exists()
    # With a higher limit it goes on from what was done.
    assert len(convert(entries(20, {1, 2, 3}), tmp_path, 32, most_corrupt=3, workers=1)) == 3


def test_a_picture_that_was_repaired_is_read_again(tmp_path, small_chunks):
    """Its name is that of the broken one, and nothing else says that it changed."""
    folder, store = tmp_path / "set", tmp_path / "store"
    entries_of("images", folder)
    broken = folder / "n1" / "n1_0002.jpg"
    with pytest.raises(DataError, match=r"n1_0002\.jpg"):
        convert(list_images(folder), store, 32, most_corrupt=0, workers=1)
    broken.write_bytes(picture(2, 112))
    assert convert(list_images(folder), store, 32, most_corrupt=0, workers=1) == []
    assert len(open_store(store).images) == 20


@pytest.mark.parametrize("kind", ["memory", "images", "rfw"])
def test_a_killed_conversion_goes_on(tmp_path, tmp_path_factory, small_chunks, monkeypatch, kind):
    done = []
    images_of_kind = entries_of(kind, tmp_path_factory.mktemp("source") / "set")

    def dies_at_third(start, sources, images, size):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(start)
        return chunk(start, sources, images, size)

    class Pool:  # in this process, so that the kill is where we want it
        def __init__(self, workers): ...
        def __enter__(self):
            return self

        def __exit__(self, *error): ...
        def map(self, *arguments):
            return map(*arguments)

    chunk = module.convert_chunk
    monkeypatch.setattr(module, "worker_pool", Pool)
    monkeypatch.setattr(module, "convert_chunk", dies_at_third)
    with pytest.raises(KeyboardInterrupt):
        convert(images_of_kind, tmp_path, 32, most_corrupt=1, workers=1)
    assert done == [0, 4]
    with (tmp_path / ".partial-journal.jsonl").open("a") as journal:
        journal.write('{"start": 8, "cor')  # a line that the kill cut off
    done.extend([-1] * 3)
    assert len(convert(images_of_kind, tmp_path, 32, most_corrupt=1, workers=1)) == 1
    assert done[5:] == [8, 12, 16]
    images, index = open_store(tmp_path)
    assert len(index) == 19
    assert images[:, 16, 16, 0].tolist() == [int(name[-3:]) for name in index.image_id]


def test_another_set_starts_anew(tmp_path, small_chunks):
    with pytest.raises(DataError):
        convert(entries(20, {19}), tmp_path, 32, most_corrupt=0, workers=1)
    assert convert(entries(8), tmp_path, 32, most_corrupt=0, workers=1) == []
    assert len(open_store(tmp_path).index) == 8


def test_a_set_of_the_same_names_starts_anew(tmp_path, small_chunks):
    with pytest.raises(DataError):
        convert(entries(20, {19}), tmp_path, 32, most_corrupt=0, workers=1)
    others = [Memory(entry.name, picture(200)) for entry in entries(20)]
    convert(others, tmp_path, 32, most_corrupt=0, workers=1)
    assert (open_store(tmp_path).images == 200).all()


def test_images_that_are_no_faces(tmp_path):
    wide = cv2.imencode(".png", np.zeros((32, 48, 3), np.uint8))[1].tobytes()
    with pytest.raises(DataError, match="48 x 32 pixels; expected an aligned square face"):
        convert([Memory("a", wide)], tmp_path, 32, most_corrupt=0, workers=1)
    with pytest.raises(DataError, match="no image could be read"):
        convert([Memory("a", wide)], tmp_path, 32, most_corrupt=1, workers=1)
    with pytest.raises(DataError, match="two images are called 'a'"):
        convert([Memory("a", picture(1)), Memory("a", picture(2))], tmp_path / "two", 32, most_corrupt=0, workers=1)
    assert not (tmp_path / "two" / ".partial-images.npy").exists()  # told before any work


def test_the_command_reads_a_record_set(tmp_path):
    write_training_set(tmp_path / "casia", [[picture(1), picture(2)], [b"damaged"]])
    arguments = ["faces", str(tmp_path / "casia"), "--out", str(tmp_path / "store"), "--size", "32"]
    result = CliRunner().invoke(app, [*arguments, "--most-corrupt", "1"])
    assert result.exit_code == 0
    assert "1 unusable images were left out" in result.output
    assert "train.rec, record 3: not a readable image" in result.output
    assert len(open_store(tmp_path / "store").index) == 2
