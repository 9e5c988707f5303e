"""Verification packs in the pickle protocols that are about, and pickles that must not be opened."""

import os
import pickle

import cv2
import numpy as np
import pandas as pd
import pytest

from stscq.data import prepare
from stscq.data.store import open_store
from stscq.data.verification_pack import VerificationPack, pairs, read_pack
from stscq.errors import DataError

IMAGES = [b"\xff\xd8one", b"\xff\xd8\x00two", b"\xff\xd8three", b"\xff\xd8four"]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", ["bytes", "arrays", "numpy bools"])
def test_packs_of_every_protocol(tmp_path, protocol, form):
    images = [np.frombuffer(image, np.uint8) for image in IMAGES] if form == "arrays" else IMAGES
    same = list(np.array([True, False])) if form == "numpy bools" else [True, False]
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps((images, same), protocol=protocol))
    pack = read_pack(path)
    assert pack.images == IMAGES
    assert pack.same.tolist() == [True, False]


def test_a_python_2_pack(tmp_path):
    # What Python 2's cPickle.dumps((["ab", "cd"], [True]), 2) wrote: strings as SHORT_BINSTRING.
    path = tmp_path / "old.bin"
    path.write_bytes(b"\x80\x02]q\x01(U\x02abU\x02cde]q\x02\x88a\x86q\x03.")
    assert read_pack(path).images == [b"ab", b"cd"]


class Attack:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Attack(), r"it asks for (posix|nt)\.system, which no verification pack needs"),
        (([print], [True]), "it asks for builtins.print"),
        ((np.array([None, b""]), [True]), "arrays of type 'O8' do not belong there"),
        ((IMAGES, [True]), "4 images for 1 pairs"),
        ((["text", b""], [True]), "expected encoded images and bools"),
        ((IMAGES[:2], ["yes"]), "expected encoded images and bools"),
        ({"images": []}, "expected two lists"),
        (([], []), "0 images for 0 pairs"),
    ],
)
def test_what_is_no_pack_is_refused(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "lfw.bin"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=r"lfw\.bin: " + message):
        read_pack(path)
    assert not (tmp_path / "harmed").exists()


def test_a_place_in_memory_that_few_bytes_cannot_fill(tmp_path):
    """pickle's memo would have 2^32 places before this one."""
    path = tmp_path / "lfw.bin"
    path.write_bytes(b"\x80\x02]r\xff\xff\xff\xff.")
    with pytest.raises(DataError, match=r"lfw\.bin: it keeps something in place 4294967295; not opened"):
        read_pack(path)


def test_damaged_packs(tmp_path):
    path = tmp_path / "lfw.bin"
    whole = pickle.dumps((IMAGES, [True, False]))
    for cut in (0, 1, 10, len(whole) - 3):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"lfw\.bin: not a readable verification pack"):
            read_pack(path)
    path.write_bytes(b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little"))  # a string of an exabyte
    with pytest.raises(DataError, match=r"lfw\.bin: not a readable verification pack"):
        read_pack(path)
    # An array whose bytes do not fill its shape.
    array = np.zeros(6, np.uint8)
    damaged = pickle.dumps(([array, array], [True]), protocol=2).replace(b"K\x06\x85", b"K\x07\x85")
    path.write_bytes(damaged)
    with pytest.raises(DataError, match=r"lfw\.bin: a damaged array"):
        read_pack(path)


def test_a_pack_becomes_a_store_with_pairs(tmp_path):
    faces = [np.full((112, 112, 3), value, np.uint8) for value in range(24)]
    same = [True, False] * 6
    encoded = [cv2.imencode(".png", face)[1].tobytes() for face in faces]
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps((encoded, same), protocol=2))
    prepare.main(str(tmp_path / "lfw.bin"), 112, tmp_path / "store", workers=2)
    images, index = open_store(tmp_path / "store")
    table = pd.read_parquet(tmp_path / "store" / "pairs.parquet")
    assert images[:, 0, 0, 0].tolist() == list(range(24))
    assert index.source[3] == "lfw.bin, image 3"
    # Nobody is named: what is resampled by identity is resampled by pair.
    assert index.identity[:4].tolist() == ["pair 000000", "pair 000000", "pair 000001", "pair 000001"]
    assert index.identity[table.a].tolist() == index.identity[table.b].tolist()
    assert table.same.tolist() == same
    assert (table.b - table.a).eq(1).all()
    assert table.fold.tolist() == [0, 0, 1, 1, *range(2, 10)]
    encoded[5] = b"damaged"
    (tmp_path / "cplfw.bin").write_bytes(pickle.dumps((encoded, same)))
    with pytest.raises(DataError, match=r"whole\): cplfw\.bin, image 5: not a readable image"):
        prepare.main(str(tmp_path / "cplfw.bin"), 112, tmp_path / "other", most_corrupt=9)
    assert not (tmp_path / "other" / "pairs.parquet").exists()


def test_too_few_pairs_for_the_folds():
    with pytest.raises(DataError, match="2 pairs cannot fill 10 folds"):
        pairs(VerificationPack(IMAGES, np.array([True, False])), 10)
