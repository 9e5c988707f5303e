"""RFW as its archive unpacks, written small: ten folds of one genuine and one impostor pair."""

import cv2
import numpy as np
import pandas as pd
import pytest
import typer
from insightface.utils.face_align import norm_crop
from PIL import Image
from typer.testing import CliRunner

from stscq.cli_tools import options_only
from stscq.data import prepare
from stscq.data.pixels import decode
from stscq.data.rfw import align, open_group
from stscq.data.store import open_store
from stscq.errors import DataError, ParamsError

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""ArcFace's five points in a face of 112 x 112 pixels."""
PEOPLE = ["m.01", "m.0_2b", "m.03"]


def turned(degrees, scale, shift):
    """The template as landmarks of a photo: turned, enlarged, moved."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (TEMPLATE - 56) @ turn * scale + shift


def dotted(landmarks):
    """A photo of 400 x 400 pixels, dark but for a soft dot of radius 6 at each landmark."""
    y, x = np.mgrid[:400, :400]
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 36) for px, py in landmarks)
    return np.repeat((np.minimum(light, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.fixture
def rfw(tmp_path):
    """One group: three people with two photos each, m.03 with a third that is in no pair."""
    texts, lines = tmp_path / "test" / "txts" / "Asian", []
    texts.mkdir(parents=True)
    for p, person in enumerate(PEOPLE):
        folder = tmp_path / "test" / "data" / "Asian" / person
        folder.mkdir(parents=True)
        for number in (1, 2, 3) if person == "m.03" else (1, 2):
            landmarks = turned(10 * p - 15 * number, 1.5 + 0.1 * number, (200, 190 + 5 * p))
            Image.fromarray(dotted(landmarks)).save(folder / f"{person}_{number:04d}.jpg", quality=95)
            points = "\t".join(f"{value:.4f}" for value in landmarks.ravel())
            lines.append(f"/test/data/Asian/{person}/{person}_{number:04d}.jpg\t{p}\t{points}\n")
    (texts / "Asian_lmk.txt").write_text("".join(lines))
    pairs = [f"{PEOPLE[k % 3]}\t1\t2\n{PEOPLE[k % 3]}\t1\t{PEOPLE[(k + 1) % 3]}\t2\n" for k in range(10)]
    (texts / "Asian_pairs.txt").write_text("".join(pairs))
    return tmp_path


def test_a_group_becomes_a_store_with_pairs(rfw, tmp_path):
    prepare.main(str(rfw), 112, tmp_path / "store", kind="rfw", group="Asian", workers=2)
    images, index = open_store(tmp_path / "store")
    assert index.identity.tolist() == ["m.01", "m.01", "m.03", "m.03", "m.0_2b", "m.0_2b"]
    assert index.source[3] == "Asian/m.03/m.03_0002.jpg"
    table = pd.read_parquet(tmp_path / "store" / "pairs.parquet")
    assert table.columns.tolist() == ["a", "b", "same", "fold"]
    assert table.fold.tolist() == [k for k in range(10) for _ in range(2)]
    assert table.same.tolist() == [True, False] * 10
    # The fourth line says m.0_2b 1 m.03 2.
    assert index.image_id[table.a[3]] == "m.0_2b/m.0_2b_0001"
    assert index.image_id[table.b[3]] == "m.03/m.03_0002"
    same = index.identity[table.a].to_numpy() == index.identity[table.b].to_numpy()
    assert (same == table.same).all()
    # Every dot came to lie on ArcFace's template.
    for image in images:
        for x, y in TEMPLATE:
            assert np.hypot(*(centroid(image[..., 0], x, y) - (x, y))) < 0.5


def centroid(grey, x, y):
    """The centre of light within 7 pixels of (x, y)."""
    rows, columns = np.mgrid[:112, :112]
    light = grey * ((rows - y) ** 2 + (columns - x) ** 2 < 49).astype(float)
    return np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum()


@pytest.mark.filterwarnings("ignore::FutureWarning")  # as in stscq.data.rfw.align
def test_faces_are_those_of_insightface(rfw):
    photos, _ = open_group(rfw / "test", "Asian")  # the folder `test` itself will do
    photo = decode(photos[0].folder / photos[0].photo)
    landmarks = turned(-15, 1.6, (200, 190))
    assert np.allclose(photos[0].landmarks, landmarks.ravel(), atol=1e-4)
    crop = align(photo, photos[0].landmarks)
    assert np.array_equal(crop, norm_crop(photo, np.array(photos[0].landmarks).reshape(5, 2)))
    assert np.array_equal(photos[0].image(112), crop)
    assert np.array_equal(photos[0].image(256), cv2.resize(crop, (256, 256), interpolation=cv2.INTER_CUBIC))
    assert np.array_equal(photos[0].image(56), cv2.resize(crop, (56, 56), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("pairs", "m.03\t1\t2\n", "m.03\t1\n", r"pairs\.txt, line 5: expected NAME a b, .*got 'm\.03\\t1'"),
        ("pairs", "m.03\t1\t2\n", "../m\t1\t2\n", r"pairs\.txt, line 5: expected NAME"),
        ("pairs", "m.03\t1\t2\n", "m.03\tone\t2\n", r"pairs\.txt, line 5: expected NAME"),
        ("pairs", "m.03\t1\t2\n", "m.03\t1\t7\n", r"pairs\.txt, line 5: .*m\.03_0007\.jpg is missing"),
        ("pairs", "m.03\t1\t2\n", "", r"pairs\.txt, line 17: the file ends after 17 pairs; expected 10 folds"),
        ("pairs", "m.03\t1\t2\n", "m.03\t1\tm.03\t2\n", r"line 5: neither two pictures of one person nor two people"),
        ("pairs", "m.03\t1\t2\n", "m.03\t1\t1\n", r"line 5: neither two pictures of one person nor two people"),
        ("pairs", "m.03\t1\t2\n", "m.03\t1\tm.01\t2\n", r"lines 5 to 6: 0 of 2 pairs are genuine; expected half"),
        ("pairs", "m.0", "\xff", r"pairs\.txt: not readable"),
        ("lmk", "m.03_0002.jpg", "m.03_0004.jpg", r"line \d+: m\.03/m\.03_0002\.jpg has no landmarks in Asian_lmk"),
        ("lmk", "m.03_0002.jpg\t2\t", "m.03_0002.jpg\t2\tx", r"lmk\.txt, line 6: expected a path, a label and five"),
        ("lmk", "m.03_0002.jpg\t2\t", "m.03_0002.jpg\t2\t9\t", r"lmk\.txt, line 6: expected a path, a label and five"),
    ],
)
def test_wrong_lines_are_named(rfw, name, old, new, message):
    path = rfw / "test" / "txts" / "Asian" / f"Asian_{name}.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new), encoding="latin-1")
    with pytest.raises(DataError, match=message):
        open_group(rfw, "Asian")


@pytest.mark.parametrize("points", ["7 7 7 7 7 7 7 7 7 7", "nan 1 2 3 4 5 6 7 8 9", "1e300 1 2 3 4 5 6 7 8 9"])
def test_landmarks_that_fix_no_face(rfw, points):
    path = rfw / "test" / "txts" / "Asian" / "Asian_lmk.txt"
    path.write_text(f"/test/data/Asian/m.01/m.01_0001.jpg 0 {points}\n")
    with pytest.raises(DataError, match=r"lmk\.txt, line 1: expected a path, a label and five points"):
        open_group(rfw, "Asian")


def test_rfw_must_be_whole(rfw, tmp_path):
    photo = rfw / "test" / "data" / "Asian" / "m.03" / "m.03_0001.jpg"
    photo.write_bytes(photo.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"whole\): Asian/m\.03/m\.03_0001\.jpg: not a readable image"):
        prepare.main(str(rfw), 112, tmp_path / "store", most_corrupt=9, kind="rfw", group="Asian")
    assert not (tmp_path / "store" / "pairs.parquet").exists()


def test_the_group_belongs_to_rfw_alone(rfw, tmp_path):
    with pytest.raises(DataError, match=r"African_pairs\.txt: not readable .*holds `test`"):
        prepare.main(str(rfw), 112, tmp_path / "store", kind="rfw", group="African")
    with pytest.raises(ParamsError, match="kind rfw, group None: RFW needs one of its four groups"):
        prepare.main(str(rfw), 112, tmp_path / "store", kind="rfw")
    with pytest.raises(ParamsError, match="kind images, group Asian"):
        prepare.main(str(rfw), 112, tmp_path / "store", kind="images", group="Asian")


def test_as_a_command(rfw, tmp_path):
    app = typer.Typer()
    app.command()(options_only(prepare.main))
    wanted = ["--source", str(rfw), "--size", "32", "--out", str(tmp_path / "store"), "--kind", "rfw", "--group"]
    assert CliRunner().invoke(app, [*wanted, "Asian"]).exit_code == 0
    assert open_store(tmp_path / "store").images.shape == (6, 32, 32, 3)
    assert CliRunner().invoke(app, [*wanted, "Martian"]).exit_code == 2
