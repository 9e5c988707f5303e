"""Sets that are for development and benchmarks: UTKFace's one folder, LFW's pictures and pairs. Faces are ORL's."""

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stscq.data import prepare
from stscq.data.lfw import centred_box, list_lfw, read_pairs
from stscq.data.orl import orl_folder
from stscq.data.store import open_store
from stscq.data.utkface import list_utkface
from stscq.errors import DataError


def portrait(person, number, size, face):
    """An ORL picture whose face, two thirds of it, measures `face` pixels, in the middle of size x size."""
    grey = np.array(Image.open(orl_folder() / person / f"{number}.pgm"))
    square = cv2.copyMakeBorder(grey, 0, 0, 10, 10, cv2.BORDER_REPLICATE)
    side = face * 3 // 2
    large = cv2.resize(square, (side, side), interpolation=cv2.INTER_CUBIC)
    canvas = np.full((size, size), 128, np.uint8)
    start = max(0, (size - side) // 2)
    cut = max(0, (side - size) // 2)
    canvas[start : start + side, start : start + side] = large[cut : cut + size, cut : cut + size]
    return Image.fromarray(canvas).convert("RGB")


@pytest.fixture
def utkface(tmp_path):
    folder = tmp_path / "utkface"
    folder.mkdir()
    for name, person in (("25_0_0_20170117", "s1"), ("61_1_3_20170104", "s2"), ("9_1_4_20170110", "s3")):
        portrait(person, 1, 200, 130).save(folder / f"{name}.jpg.chip.jpg", quality=95)
    return folder


def test_utkface_names_say_age_gender_and_race(utkface, tmp_path):
    prepare.main(str(utkface), 32, tmp_path / "store", kind="utkface")
    images, index = open_store(tmp_path / "store")
    assert images.shape == (3, 32, 32, 3)
    assert index.image_id.tolist() == ["25_0_0_20170117", "61_1_3_20170104", "9_1_4_20170110"]
    assert index.age.tolist() == [25, 61, 9]
    assert index.gender.tolist() == ["man", "woman", "woman"]
    assert index.race.tolist() == ["White", "Indian", "Other"]
    assert index.group.tolist() == ["White man", "Indian woman", "Other woman"]
    assert index.identity.is_unique
    assert len(pd.read_parquet(tmp_path / "store" / "pairs.parquet")) == 0


def test_utkface_pictures_without_a_face_or_a_name_are_counted_and_named(utkface, tmp_path, capsys):
    Image.new("RGB", (200, 200)).save(utkface / "33_0_1_20170116.jpg.chip.jpg")
    portrait("s4", 1, 200, 130).save(utkface / "61_1_20170109.jpg.chip.jpg")  # three of the real set lack the race
    with pytest.raises(DataError, match=r"33_0_1_20170116\.jpg\.chip\.jpg: no face found"):
        prepare.main(str(utkface), 32, tmp_path / "store", kind="utkface", most_corrupt=0)
    prepare.main(str(utkface), 32, tmp_path / "store", kind="utkface", most_corrupt=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("2 unusable images were left out")
    assert lines[1] == "61_1_20170109.jpg.chip.jpg: its name does not say age, gender and race"
    assert lines[2] == "33_0_1_20170116.jpg.chip.jpg: no face found"
    assert len(open_store(tmp_path / "store").index) == 3


def test_a_folder_that_is_not_utkface(tmp_path):
    with pytest.raises(DataError, match="missing: no such folder"):
        list_utkface(tmp_path / "missing")
    (tmp_path / "portrait.jpg").touch()
    with pytest.raises(DataError, match="is it UTKFace's folder"):
        list_utkface(tmp_path)


@pytest.fixture
def lfw(tmp_path):
    """Four people with two pictures each, one of the second pair of folds cut to 160 pixels as it may be."""
    home = tmp_path / "lfw_home"
    for number, person in enumerate(("Ann_Lee", "Bob", "Cy_Young", "Di"), 1):
        (home / "lfw_funneled" / person).mkdir(parents=True)
        for picture in (1, 2):
            size = 160 if person == "Di" else 250
            file = home / "lfw_funneled" / person / f"{person}_{picture:04}.jpg"
            portrait(f"s{number}", picture, size, 114).save(file, quality=95)
    genuine, impostors = ("Ann_Lee\t1\t2", "Cy_Young\t1\t2"), ("Ann_Lee\t1\tBob\t2", "Cy_Young\t2\tDi\t1")
    (home / "pairs.txt").write_text("2\t1\n" + "\n".join([genuine[0], impostors[0], genuine[1], impostors[1]]) + "\n")
    return home


def test_lfw_pairs_are_the_official_ones(lfw, tmp_path):
    prepare.main(str(lfw), 64, tmp_path / "store", kind="lfw")
    images, index = open_store(tmp_path / "store")
    pairs = pd.read_parquet(tmp_path / "store" / "pairs.parquet")
    named = [(index.image_id[a], index.image_id[b]) for a, b in zip(pairs.a, pairs.b, strict=True)]
    assert named == [
        ("Ann_Lee/1", "Ann_Lee/2"),
        ("Ann_Lee/1", "Bob/2"),
        ("Cy_Young/1", "Cy_Young/2"),
        ("Cy_Young/2", "Di/1"),
    ]
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    assert len(images) == 8


def test_lfw_pictures_cut_closer_give_the_same_face(tmp_path):
    whole = np.asarray(portrait("s5", 1, 250, 114))
    cut = whole[45:205, 45:205]
    a, b = centred_box(whole), centred_box(cut)
    assert (a.left() - 45, a.top() - 45, a.right() - 45, a.bottom() - 45) == (b.left(), b.top(), b.right(), b.bottom())
    with pytest.raises(DataError, match="100 x 100 pixels"):
        centred_box(np.zeros((100, 100, 3), np.uint8))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not LFW's pairs.txt"),
        ("2 1\nAnn_Lee\t1\t2\n", "1 pairs, expected 2 x 2 x 1"),
        ("1\t1\nAnn_Lee\t1\t7\nAnn_Lee\t1\tBob\t1\n", "line 2: there is no picture 7 of Ann_Lee"),
        ("1\t1\nAnn_Lee\t1\t2\nAnn_Lee\t1\tEve\t1\n", "line 3: there is no picture 1 of Eve"),
        ("1\t1\nAnn_Lee\t1\t2\nAnn_Lee\t1\t2\n", "line 3: .* is no impostor pair"),
        ("1\t1\nAnn_Lee\t1\t2\nAnn_Lee\t1\tAnn_Lee\t2\n", "line 3: .* is no impostor pair"),
        ("1\t1\nAnn_Lee\t1\t1\nAnn_Lee\t1\tBob\t1\n", "line 2: .* is no genuine pair"),
        ("1\t1\nAnn_Lee\t1\tx\nAnn_Lee\t1\tBob\t1\n", "line 2: there is no picture x of Ann_Lee"),
    ],
)
def test_pairs_that_do_not_fit_are_named(lfw, text, problem):
    (lfw / "pairs.txt").write_text(text)
    with pytest.raises(DataError, match=problem):
        read_pairs(lfw, list_lfw(lfw))


def test_a_folder_that_is_not_lfw(lfw, tmp_path):
    with pytest.raises(DataError, match=r"expected .*NAME_0001\.jpg"):
        list_lfw(tmp_path / "nowhere")
    (lfw / "lfw_funneled" / "Bob" / "holiday.jpg").touch()
    with pytest.raises(DataError, match=r"holiday\.jpg: not named as LFW's pictures are"):
        list_lfw(lfw)
