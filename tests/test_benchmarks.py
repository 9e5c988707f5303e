"""The plain definitions compute what ours do, from the same weights; so the benchmark compares like with like."""

import json

import pytest
import torch

from benchmarks import codec, processes, quantization, scaling, training, watermark
from benchmarks.backbones import as_markdown, interleaved, pair, relative_difference
from benchmarks.plain.search import cdist_distances, einsum_distances, plain_nn
from stscq.errors import StscqError
from stscq.quantization.search import search_nn

CONV = {"image_size": 32, "channels": 16, "multipliers": [1, 2, 2], "d": 6, "K": 8}
SMALL = {
    "titok": {
        "family": "titok", "image_size": 32, "patch": 8, "width": 24, "layers": 2, "heads": 3, "T": 5, "K": 8, "d": 6,
        "K_pixel": 16, "d_pixel": 8, "hidden": 20, "pixel_channels": 8, "pixel_multipliers": [1, 1, 2, 2],
        "pixel_blocks": 2,
    },
    "maskgit_vqgan": {"family": "maskgit_vqgan", **CONV, "blocks": 2},
    "ibq": {"family": "ibq", **CONV, "blocks": 2},
}  # fmt: skip


@pytest.mark.parametrize("family", SMALL)
@torch.no_grad()
def test_plain_and_ours_agree(family):
    ours, plain = pair(SMALL[family])
    assert set(plain.state_dict()) == set(ours.state_dict())
    images = torch.rand(2, 3, 32, 32)
    z = plain.encode(images)
    assert z.shape == (2, ours.T, ours.d)
    assert relative_difference(ours.encode(images.contiguous(memory_format=torch.channels_last)), z) < 1e-5
    image = plain.decode(z)
    assert image.shape == images.shape
    assert relative_difference(ours.decode(z), image) < 1e-5


def test_different_outputs_are_not_timed():
    with pytest.raises(StscqError, match="differ by"):
        relative_difference(torch.ones(3), torch.ones(3) + 1e-3)
    with pytest.raises(StscqError, match="nan"):
        relative_difference(torch.tensor([float("nan")]), torch.ones(1))


def test_runs_take_turns_after_a_warm_up():
    calls = []

    def call(who):
        calls.append(who)
        return torch.zeros(1)

    timing = interleaved(lambda: call("ours"), lambda: call("plain"), 3)
    assert calls == ["ours", "plain"] * 4
    assert timing.ratio_low <= timing.ratio <= timing.ratio_high
    row = {"backbone": "b", "step": "encode", "batch": 1, **timing._asdict(), "difference": 1e-6}
    assert "1e-06" in as_markdown([row], {"device": "some CPU"})


@pytest.mark.parametrize("benchmark", [quantization, codec, training])
def test_benchmarks_of_the_quantiser_run(benchmark, tmp_path, capsys):
    benchmark.main(repeats=1, out=tmp_path, tiny=True)
    name = benchmark.__name__.split(".")[-1]
    table, content = (tmp_path / f"{name}_cpu.md").read_text(), json.loads((tmp_path / f"{name}_cpu.json").read_text())
    assert table in capsys.readouterr().out
    assert content["machine"]["device"] in table
    assert len(content["rows"]) == table.count("\n|") - 2
    if benchmark is quantization:
        assert (tmp_path / "quantization_cpu.png").exists()


@pytest.mark.slow
def test_the_benchmark_of_the_mark_runs(tmp_path, capsys):
    watermark.main(repeats=1, out=tmp_path, tiny=True)
    tables = json.loads((tmp_path / "watermark.json").read_text())["tables"]
    assert (tmp_path / "watermark.md").read_text() in capsys.readouterr().out
    found = {row["condition"]: row["Database of Faces, 4"] for row in tables["Found"]}
    assert list(found) == list(watermark.ATTACKS)
    for condition in ("PNG", "JPEG 75", "WebP 80", "double the size, bicubic", "a tenth cropped"):
        assert found[condition].startswith("100.00 ")
    assert found["mirrored"].startswith("0.00 ")
    assert [row["found"] for row in tables["False detections"]] == [0, 0]
    assert tables["Pictures and people"][0]["PSNR, least"] > 40


def test_the_benchmark_of_millions_runs_on_hundreds(tmp_path, capsys):
    scaling.main(tmp_path, counts="200,400", rounds=1)
    assert (tmp_path / "scaling.md").read_text() in capsys.readouterr().out
    small, large = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    assert (small["images"], large["images"]) == (200, 400)
    assert large["images, bytes each"] == pytest.approx(scaling.SMALL**2 * 3 + 128 / 400)  # numpy's header
    assert large["archive, bytes an image"] >= scaling.PAYLOAD + 2
    table = scaling.extrapolated(large)
    assert table.loc["store at 64 x 64, GB", "a billion"] == pytest.approx(12288)


def test_two_processes_and_one_are_compared_seed_by_seed():
    psnr = {(1, 1): 20.0, (1, 2): 20.5, (2, 1): 22.0, (2, 2): 21.8}
    found = processes.table({key: {"psnr": value, "error": 1.0, "used": 2.0} for key, value in psnr.items()})
    row = found.loc[processes.METRICS["psnr"]]
    assert row["1 process"] == 21.0
    assert row["2 processes"] == pytest.approx(21.15)
    assert row["apart, at most"] == pytest.approx(0.5)
    assert row["std over seeds"] == pytest.approx(2**0.5)


def test_the_plain_search_finds_the_same():
    z, books = torch.randn(5, 3, 4), torch.randn(2, 3, 8, 4)
    for distances in (einsum_distances, cdist_distances):
        found = plain_nn(z, books, distances)
        assert all(torch.equal(a, b) for a, b in zip(found, search_nn(z, books, "euclidean"), strict=True))
