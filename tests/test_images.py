"""ImageNet's folders, with all that its files are: grey, CMYK, turned by EXIF, PNG under the name of JPEG, damaged."""

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from stscq.data import pixels, prepare
from stscq.data.images import list_images
from stscq.data.pixels import centre, decode
from stscq.data.store import open_store
from stscq.errors import DataError


def gradient(height, width):
    """Red grows to the right, green downwards."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x // width, 255 * y // height, np.full((height, width), 60)], axis=2).astype(np.uint8)


@pytest.fixture
def imagenet(tmp_path):
    """Two classes of ImageNet, one picture of each sort."""
    picture = Image.fromarray(gradient(60, 80))
    first, second = tmp_path / "val" / "n01440764", tmp_path / "val" / "n01443537"
    for folder in (second, first):
        folder.mkdir(parents=True)
    picture.save(first / "a_plain.JPEG", quality=95, subsampling=0)
    picture.convert("CMYK").save(first / "b_cmyk.JPEG", quality=95)
    picture.convert("L").save(first / "c_grey.JPEG", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise, so stored turned the other way
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.save(second / "a_exif.JPEG", quality=95, subsampling=0, exif=exif)
    picture.save(second / "b_png.JPEG", format="PNG")
    return tmp_path / "val"


def test_every_sort_becomes_the_same_square(imagenet, tmp_path, capsys):
    prepare.main(str(imagenet), 48, tmp_path / "store", kind="images", workers=2)
    assert "0 unusable images were left out" in capsys.readouterr().out
    images, index = open_store(tmp_path / "store")
    assert index.image_id.tolist() == [
        *(f"n01440764/{name}" for name in ("a_plain", "b_cmyk", "c_grey")),
        *(f"n01443537/{name}" for name in ("a_exif", "b_png")),
    ]
    assert index.identity.tolist() == ["n01440764"] * 3 + ["n01443537"] * 2
    assert index.source[0] == "n01440764/a_plain.JPEG"
    expected = centre(gradient(60, 80), 48).astype(int)
    assert np.array_equal(images[4], expected)
    for i in (0, 1, 3):
        assert np.abs(images[i] - expected).max() < 8
    assert np.ptp(images[2], axis=2).max() == 0
    assert np.abs(images[2][..., 0] - expected @ [0.299, 0.587, 0.114]).max() < 4


def test_no_pairs_are_written_with_all_columns(imagenet, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "pairs.parquet").write_bytes(b"of another set")
    prepare.main(str(imagenet), 48, tmp_path / "store", kind="images")
    table = pd.read_parquet(tmp_path / "store" / "pairs.parquet")
    assert len(table) == 0
    assert {name: str(kind) for name, kind in table.dtypes.items()} == {
        "a": "int64",
        "b": "int64",
        "same": "bool",
        "fold": "int64",
    }


def test_damaged_images_are_reported_and_skipped(imagenet, tmp_path, capsys):
    whole = (imagenet / "n01440764" / "a_plain.JPEG").read_bytes()
    (imagenet / "n01440764" / "d_cut.JPEG").write_bytes(whole[: len(whole) // 2])
    (imagenet / "n01443537" / "c_link.JPEG").symlink_to(tmp_path / "nowhere")
    prepare.main(str(imagenet), 48, tmp_path / "store", most_corrupt=2, kind="images")
    said = capsys.readouterr().out
    assert "2 unusable images were left out" in said
    assert "n01440764/d_cut.JPEG: not a readable image (image file is truncated" in said
    assert "n01443537/c_link.JPEG: not a readable image ([Errno 2]" in said
    assert len(open_store(tmp_path / "store").index) == 5
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "pairs.parquet").write_bytes(b"of another set")
    with pytest.raises(DataError, match=r"2 unusable images, and 1 may be left out .*: n01440764/d_cut\.JPEG"):
        prepare.main(str(imagenet), 48, tmp_path / "other", most_corrupt=1, kind="images")
    assert not (tmp_path / "other" / "pairs.parquet").exists()


def test_a_flat_folder_has_no_classes(imagenet, tmp_path):
    for i, path in enumerate(sorted(imagenet.rglob("*.JPEG"))):
        path.rename(tmp_path / f"{9 - i}.jpg")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._9.jpg").write_text("what macOS leaves about")
    entries = list_images(tmp_path)
    assert [entry.row for entry in entries[:2]] == [("5", "unknown", "5.jpg", ""), ("6", "unknown", "6.jpg", "")]
    assert len(entries) == 5


def test_folders_without_images(imagenet, tmp_path):
    with pytest.raises(DataError, match="nowhere: not a readable folder of images"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no images; expected .*CLASS/\*\.JPEG"):
        list_images(imagenet.parent)  # one folder too high
    (imagenet / "n01440764" / "line\nbreak.JPEG").write_bytes(b"")
    with pytest.raises(DataError, match=r"'n01440764/line\\nbreak\.JPEG' is no name that can be printed"):
        list_images(imagenet)


@pytest.mark.parametrize(("height", "width"), [(60, 80), (80, 60), (60, 60), (30, 45), (48, 100), (481, 333)])
def test_the_centre_of_the_shorter_side(height, width):
    square = centre(gradient(height, width), 48)
    assert square.shape == (48, 48, 3)
    if height == width == 60:
        assert np.array_equal(square, cv2.resize(gradient(60, 60), (48, 48), interpolation=cv2.INTER_AREA))
    # The middle of the picture stays the middle; the shorter side is whole, the longer one cut alike at both ends.
    for channel, side in ((0, width), (1, height)):
        profile = square[..., channel].mean(axis=channel).astype(float)
        share = min(height, width) / side
        assert profile.mean() == pytest.approx(127, abs=4)
        assert np.ptp(profile) == pytest.approx(255 * share, abs=10)


def test_shrinking_makes_no_aliases():
    stripes = np.zeros((64, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.ptp(centre(stripes, 16)) == 0


def test_images_that_would_fill_the_memory(monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"409600000 x 4096 pixels; at most 100,000,000 are read"):
        centre(np.zeros((1, 100_000, 3), np.uint8), 4096)
    Image.new("1", (100, 100)).save(tmp_path / "large.png")
    monkeypatch.setattr(pixels, "MAX_PIXELS", 9_999)
    with pytest.raises(DataError, match="100 x 100 pixels; at most 9,999 are read"):
        decode(tmp_path / "large.png")


def test_sorts_that_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="pixels of more than 8 bits"):
        decode(tmp_path / "deep.png")
    # Encapsulated PostScript would start another program.
    Image.new("RGB", (8, 8)).save(tmp_path / "drawing.jpg", format="EPS")
    with pytest.raises(DataError, match="not a readable image"):
        decode(tmp_path / "drawing.jpg")
