"""Classic codecs: complete files that round trip, what they cannot do, and what they cost at equal accuracy."""

import json

import numpy as np
import pandas as pd
import pytest
from skimage import data

from stscq.data.store import open_store
from stscq.errors import DataError, PeerError
from stscq.evaluation import original, peer
from stscq.evaluation.peers import calibrate
from stscq.evaluation.peers.codecs import CODECS, decode, encode
from stscq.evaluation.peers.frames import (
    against_classic,
    against_classic_by_seed,
    best_classic,
    bytes_at,
    peer_means,
    peer_points,
)
from stscq.evaluation.peers.point import Point, decode_face, encode_face, enlarge, shrink
from stscq.evaluation.quality import psnr

PHOTO = np.ascontiguousarray(data.astronaut()[:128, 160:288])


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("colour", ["grey", "colour"])
def test_round_trip(codec, colour):
    best = CODECS[codec].qualities[-1]
    file = encode_face(codec, Point(colour, 1, best), PHOTO)
    back = decode_face(codec, file, 128)
    expected = PHOTO if colour == "colour" else np.repeat((PHOTO @ [0.299, 0.587, 0.114]).round()[..., None], 3, axis=2)
    assert back.shape == (128, 128, 3)
    assert back.dtype == np.uint8
    assert psnr(expected.astype(np.uint8)[None], back[None])[0] > 28
    assert encode_face(codec, Point(colour, 1, best), PHOTO) == file


SIGNATURES = {"jpeg": (0, b"\xff\xd8"), "webp": (0, b"RIFF"), "avif": (4, b"ftypavif"), "heic": (4, b"ftypheic"),
              "jpegxl": (0, b"\xff\x0a"), "jpeg2000": (0, b"\xff\x4f\xff\x51")}  # fmt: skip


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_is_complete_and_says_its_own_size(codec):
    """The header is counted: the bytes alone, in a file of their own, open elsewhere."""
    file = encode(codec, PHOTO[:32, :48], CODECS[codec].qualities[0])
    place, signature = SIGNATURES[codec]
    assert file[place : place + len(signature)] == signature
    assert decode(codec, file).shape == (32, 48, 3)


@pytest.mark.parametrize("codec", CODECS)
def test_qualities_go_from_small_to_large_and_grey_costs_less_than_colour(codec):
    sizes = [len(encode_face(codec, Point("colour", 1, q), PHOTO)) for q in CODECS[codec].qualities]
    assert sizes == sorted(sizes)
    middle = CODECS[codec].qualities[len(sizes) // 2]
    assert len(encode_face(codec, Point("grey", 1, middle), PHOTO)) < sizes[len(sizes) // 2]
    assert len(encode_face(codec, Point("colour", 4, middle), PHOTO)) < 0.6 * sizes[len(sizes) // 2]


def test_shrinking_is_a_mean_and_keeps_flat_pictures():
    face = np.zeros((8, 8, 3), np.uint8)
    face[:, 4:] = 200
    assert shrink(face, 8).tolist() == [[[100, 100, 100]]]
    assert (enlarge(shrink(np.full((16, 16, 3), 77, np.uint8), 4), 16) == 77).all()
    with pytest.raises(ValueError, match="no multiple of 3"):
        shrink(face, 3)


@pytest.mark.parametrize("codec", CODECS)
def test_what_cannot_be_encoded_says_so(codec):
    with pytest.raises(PeerError, match=rf"{codec} cannot encode 0 x 8 x 3 at quality"):
        encode(codec, np.zeros((0, 8, 3), np.uint8), CODECS[codec].qualities[0])
    for damaged in (b"", b"not a picture", encode(codec, PHOTO, CODECS[codec].qualities[0])[:20]):
        with pytest.raises(PeerError, match=rf"{codec} cannot decode {len(damaged)} bytes"):
            decode(codec, damaged)


def test_webp_stops_at_16383_pixels():
    with pytest.raises(PeerError, match="webp cannot encode 1 x 16384 x 3"):
        encode("webp", np.zeros((1, 16384, 3), np.uint8), 0)


def test_files_of_another_codec_are_refused():
    with pytest.raises(PeerError, match="jpeg cannot decode"):
        decode("jpeg", encode("webp", PHOTO, 10))
    with pytest.raises(PeerError, match="'gif' is none of jpeg, jpeg2000, webp"):
        encode("gif", PHOTO, 10)


def test_operating_points_are_the_cheapest_of_each_rung():
    """Rungs at 18, 20, 22, .. dB; a step below 15 % in size is left out."""
    tried = pd.DataFrame(
        [("grey", 8, 1, 50.0, 17.0), ("grey", 4, 1, 60.0, 19.0), ("colour", 4, 1, 80.0, 19.5),
         ("grey", 4, 5, 66.0, 21.0), ("grey", 2, 5, 90.0, 23.0), ("grey", 1, 5, np.nan, np.nan),
         ("grey", 2, 9, 300.0, 29.0)],
        columns=["colour", "scale", "quality", "bytes", "psnr"],
    )  # fmt: skip
    chosen = calibrate.choose(tried)
    # 18 dB: 60 bytes; 20 dB: 66, only a tenth more; 22 dB: 90; 24, 26, 28 dB: 300, once.
    assert [(p["scale"], p["bytes"]) for p in chosen] == [(4, 60.0), (2, 90.0), (2, 300.0)]
    assert calibrate.smallest(tried) == {
        "smallest_bytes": 50.0, "smallest_at": "grey/8/1", "smallest_bytes_full_size": None
    }  # fmt: skip


def test_calibration_leaves_tested_people_out(tmp_path):
    for seed, split in ((1, ["train", "test", "train"]), (2, ["train", "train", "test"])):
        (tmp_path / f"seed{seed}").mkdir()
        pd.DataFrame({"split": split}).to_parquet(tmp_path / f"seed{seed}" / "index.parquet")
    paths = [tmp_path / f"seed{seed}" / "index.parquet" for seed in (1, 2)]
    assert calibrate.rows_that_always_train(paths).tolist() == [0]
    pd.DataFrame({"split": ["test"] * 3}).to_parquet(paths[0])
    with pytest.raises(DataError, match=r"data\.val_people"):
        calibrate.rows_that_always_train(paths)


@pytest.mark.slow
def test_calibrate_and_evaluate(faces, split, tmp_path):
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "seed1").symlink_to(split)
    calibrate.main(faces, splits, "[1]", "webp", tmp_path / "webp" / "calibration")
    pairs = split / "pairs.parquet"
    original.main(faces, pairs, faces, split / "index.parquet", tmp_path / "original", "dlib", own=True)
    out = tmp_path / "webp" / "test" / "seed1"
    peer.main(faces, tmp_path / "original", "dlib", "webp", tmp_path / "webp" / "calibration", out)
    metrics = json.loads((out / "metrics.json").read_text())
    images, judged = pd.read_parquet(out / "images.parquet"), pd.read_parquet(out / "pairs.parquet")
    names = [point["name"] for point in metrics["points"]]
    assert list(images.selection.unique()) == list(judged.selection.unique()) == names
    first = images[images.selection == names[0]]
    p = metrics["points"][0]
    face = open_store(faces).images[first.row.iloc[0]]
    file = encode_face("webp", Point(p["colour"], p["scale"], p["quality"]), face)
    assert len(file) == first.file_bytes.iloc[0]
    assert p["file_bytes"] == pytest.approx(first.file_bytes.mean())
    assert p["bpp"] == pytest.approx(8 * p["file_bytes"] / 32**2)
    assert p["ids_centred"] < metrics["points"][-1]["ids_centred"]
    table = peer_means(peer_points(tmp_path, ["webp"], ["test"], [1]))
    assert table.name.tolist() == names
    assert (table.bytes >= table.smallest_bytes).all()
    with pytest.raises(DataError, match="not of jpeg"):
        peer.main(faces, tmp_path / "original", "dlib", "jpeg", tmp_path / "webp" / "calibration", out)


POINTS = pd.DataFrame(
    [("a", 100.0, 70.0), ("a", 400.0, 90.0), ("b", 150.0, 60.0), ("b", 200.0, 85.0)],
    columns=["codec", "bytes", "mean_acc"],
)


def test_bytes_at_equal_accuracy_worked_by_hand():
    a = POINTS[POINTS.codec == "a"]
    assert bytes_at(a, 80) == (pytest.approx(200), "between")  # half way from 70 to 90 in log bytes: sqrt(100 * 400)
    assert bytes_at(a, 60) == (100, "smallest")
    assert bytes_at(a, 91)[1] == "beyond"
    assert best_classic(POINTS, 80).codec == "b"  # 150 * (4/3)^0.8 = 189
    assert best_classic(POINTS, 80).bytes == pytest.approx(150 * (4 / 3) ** 0.8)
    assert best_classic(POINTS, 65) == ("a", 100, "smallest")
    assert best_classic(POINTS, 99).where == "beyond"
    compared = against_classic(pd.DataFrame({"bytes": [20.0, 40.0], "mean_acc": [65.0, 99.0]}), POINTS)
    assert compared.ours_over_classic.iloc[0] == 0.2
    assert np.isnan(compared.ours_over_classic.iloc[1])


def test_an_accuracy_that_falls_with_size_is_evened_out():
    """80, then by chance 70: both count as 75, and the lucky 80 is not taken at its word."""
    points = pd.DataFrame({"bytes": [100.0, 200.0, 400.0], "mean_acc": [80.0, 70.0, 90.0]})
    assert bytes_at(points, 75) == (100, "smallest")
    assert bytes_at(points, 82.5)[0] == pytest.approx(200)  # between 75 at 100 and 90 at 400 bytes


def test_the_range_of_the_ratio_is_over_seeds():
    points = pd.concat(
        POINTS.assign(seed=seed, name=[f"n{i}" for i in range(4)], colour="grey", scale=1, quality=0,
                      smallest_bytes=90.0, smallest_bytes_full_size=95.0, bpp=0.1, ids=0.9, ids_centred=0.1, psnr=20.0,
                      ssim=0.5, mean_acc=POINTS.mean_acc + 2 * seed) for seed in (-1, 1)
    )  # fmt: skip
    ours = pd.DataFrame({"seed": [-1, 1], "variant": "x", "bytes": 20.0, "mean_acc": [65.0, 90.0]})
    found = against_classic_by_seed(ours, points, ["variant"]).iloc[0]
    assert found.mean_acc == 77.5
    assert found.ours_over_classic == pytest.approx(20 / best_classic(POINTS, 77.5).bytes)
    assert found.ratio_high == pytest.approx(20 / 100)  # seed -1: the smallest of codec a is good enough
    assert found.ratio_low == pytest.approx(20 / best_classic(POINTS, 88).bytes)
