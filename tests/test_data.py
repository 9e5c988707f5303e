"""Readers, store, splits and pairs, on the real faces; and what wrong input is told."""

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stscq.data.convert import convert
from stscq.data.folder import list_photos, read_photo
from stscq.data.orl import orl_folder, paths
from stscq.data.pairs import make_pairs
from stscq.data.splits import split_people
from stscq.data.store import Face, Row, open_store, write_store
from stscq.errors import DataError


def test_database_of_faces(faces):
    images, index = open_store(faces)
    assert images.shape == (400, 32, 32, 3)
    assert isinstance(images, np.memmap)
    assert index.identity.nunique() == 40
    assert (index.identity.value_counts() == 10).all()
    assert images.std() > 30  # pictures, not blanks


def test_alignment_puts_the_eyes_on_a_common_line():
    # In an aligned face the row of the eyes is darker than the rows of the forehead above and the cheeks below.
    from stscq.data.orl import read_orl

    mean = np.mean([face.image for face in read_orl(orl_folder(), 64)], axis=(0, 2, 3))
    eyes = int(mean[10:40].argmin()) + 10
    assert 18 <= eyes <= 30
    assert mean[eyes] < mean[eyes - 10] - 10
    assert mean[eyes] < mean[eyes + 12] - 10


def test_changed_database_is_noticed(tmp_path):
    for path in paths(orl_folder()):
        copy = tmp_path / path.parent.name / path.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "s7" / "3.pgm").write_bytes(b"P5 1 1 255 x")
    with pytest.raises(DataError, match="SHA-256 differs"):
        paths(tmp_path)
    (tmp_path / "s7" / "3.pgm").unlink()
    with pytest.raises(DataError, match=r"s7/3\.pgm: missing"):
        paths(tmp_path)


def photo(person, number):
    """A face of the database as a plain photo: enlarged, with a margin around it, neither cropped nor aligned."""
    grey = cv2.imread(str(orl_folder() / person / f"{number}.pgm"), cv2.IMREAD_GRAYSCALE)
    large = cv2.resize(grey, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    return cv2.copyMakeBorder(large, 60, 60, 60, 60, cv2.BORDER_REPLICATE)


@pytest.fixture
def people(tmp_path):
    for person in ("s1", "s2"):
        (tmp_path / person).mkdir()
        for number in (1, 2):
            Image.fromarray(photo(person, number)).save(tmp_path / person / f"{number}.jpg", quality=95)
    return tmp_path


def test_folder_of_people(people, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    assert convert(list_photos(people), store, 64, most_corrupt=0, workers=1) == []
    images, index = open_store(store)
    assert images.shape == (4, 64, 64, 3)
    assert index.identity.tolist() == ["s1", "s1", "s2", "s2"]
    assert index.source[0] == "s1/1.jpg"


def test_all_wrong_photos_are_named_at_once_or_left_out(people, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    (people / "s1" / "._1.jpg").write_bytes(b"what macOS leaves beside a file")
    (people / "s1" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    whole = (people / "s2" / "2.jpg").read_bytes()
    (people / "s2" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.full((200, 200, 3), 120, np.uint8)).save(people / "s2" / "4.jpg")
    with pytest.raises(DataError, match=r"3 unusable .*s1/broken\.jpg: not a.*s2/3\.jpg: damaged.*s2/4\.jpg: no face"):
        convert(list_photos(people), store, 64, most_corrupt=2, workers=1)
    (people / "s2" / "3.jpg").write_bytes(whole)  # the same name with another photo in it
    left_out = convert(list_photos(people), store, 64, most_corrupt=2, workers=1)
    assert [line.partition(":")[0] for line in left_out] == ["s1/broken.jpg", "s2/4.jpg"]
    assert sorted(open_store(store).index.image_id) == ["s1/1", "s1/2", "s2/1", "s2/2", "s2/3"]
    with pytest.raises(DataError, match=r"s2/4\.txt: No such file"):
        read_photo(people / "s2" / "4.txt")


def test_wrong_folders_are_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder"):
        list_photos(tmp_path / "nowhere")
    with pytest.raises(DataError, match="no photos found"):
        list_photos(tmp_path)
    for person in "ab":
        (tmp_path / person).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / person / "1.png")
    with pytest.raises(DataError, match="fewer than two photos"):
        list_photos(tmp_path)
    (tmp_path / "a" / "2.png").symlink_to("elsewhere/2.png")  # as git-annex leaves what was not fetched
    assert [photo.path for photo in list_photos(tmp_path)] == ["a/1.png", "a/2.png", "b/1.png"]
    with pytest.raises(DataError, match="No such file"):
        list_photos(tmp_path)[1].image(32)
    (tmp_path / "a" / "2.png").rename(tmp_path / "a" / "\udce9.png")
    with pytest.raises(DataError, match=r"is no name in UTF-8; rename it"):
        convert(list_photos(tmp_path), tmp_path / "store", 32, most_corrupt=0, workers=1)


def test_store_is_complete_or_refused(tmp_path):
    face = Face(Row("a/1", "a", "a/1.png"), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(DataError, match="no faces"):
        write_store([], tmp_path)
    with pytest.raises(DataError, match="two images are called 'a/1'"):
        write_store([face, face], tmp_path)
    with pytest.raises(DataError, match="not a complete image store"):
        open_store(tmp_path)
    write_store([face], tmp_path)
    np.save(tmp_path / "images.npy", np.zeros((2, 16, 16, 3), np.uint8))
    with pytest.raises(DataError, match="does not describe"):
        open_store(tmp_path)
    np.save(tmp_path / "images.npy", np.array([{"pickle": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match="not a complete image store"):
        open_store(tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_people_never_change_sides(faces, seed):
    index = open_store(faces).index
    split = split_people(index, test_people=20, val_people=["s3", "s4"], seed=seed, side="val")
    assert (split.groupby("identity").split.nunique() == 1).all()
    assert split.groupby("split").identity.nunique().to_dict() == {"test": 20, "train": 18, "val": 2}
    assert set(split.identity[split.split == "val"]) == {"s3", "s4"}
    pd.testing.assert_frame_equal(split, split_people(index, 20, ["s3", "s4"], seed, "val"))
    final = split_people(index, 20, ["s3", "s4"], seed, "test")
    assert set(final.identity[final.split == "test"]) == set(split.identity[split.split == "test"])
    assert set(final.split[final.identity.isin(["s3", "s4"])]) == {"train"}


def test_impossible_splits_are_explained(faces):
    index = open_store(faces).index
    with pytest.raises(DataError, match=r"test_people: 40 people.*too few"):
        split_people(index, test_people=39, val_people=[], seed=1, side="test")
    with pytest.raises(DataError, match="val_people: no images of nobody"):
        split_people(index, test_people=4, val_people=["nobody"], seed=1, side="test")


def test_pairs_are_all_genuine_ones_and_as_many_impostors(faces):
    index = split_people(open_store(faces).index, test_people=20, val_people=[], seed=1, side="test")
    test = index[index.split == "test"]
    pairs = make_pairs(test, folds=10, seed=1)
    assert len(pairs) == 2 * 20 * 45  # each of 20 people has 10 images, so 45 genuine pairs
    assert not pairs.duplicated(["a", "b"]).any()
    first, second = test.identity[pairs.a].to_numpy(), test.identity[pairs.b].to_numpy()
    assert ((first == second) == pairs.same).all()
    folds_of = pd.concat([pd.Series(pairs.fold.to_numpy(), first), pd.Series(pairs.fold.to_numpy(), second)])
    assert (folds_of.groupby(level=0).nunique() == 1).all()
    assert (pairs.groupby(["fold", "same"]).size() == 90).all()
    with pytest.raises(DataError, match="people cannot fill 11 folds"):
        make_pairs(test, folds=11, seed=1)
