"""Counts at published size, against independent counts and the paper's; and that measuring measures."""

from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
import yaml

from stscq.backbones import build
from stscq.evaluation.cost import CodingScheme, count_macs, count_parameters, edge_int8_mib, edge_mib, on_meta
from stscq.evaluation.count_cost import count, published_scheme
from stscq.evaluation.measure_cost import in_fresh_process, measure_rows, out_of_memory
from stscq.evaluation.measured_row import MeasuredCost, measure
from stscq.evaluation.published import published_rows
from stscq.params import with_profile
from tests.conftest import ROOT
from tests.test_backbones import PUBLISHED

# Multiply-accumulates (10^9) and encoder MiB of the public definitions at 256 x 256, counted elsewhere.
COUNTED = {"titok_s128": (115.6, 98.49), "titok_l32": (277.3, 1157.42), "maskgit_vqgan": (157.6, 90.69)}


@pytest.mark.parametrize("name", COUNTED)
def test_macs_and_encoder_size(name):
    tokenizer = on_meta(PUBLISHED[name])
    macs = count_macs(tokenizer, 256)
    assert (macs.encoder + macs.decoder) / 1e9 == pytest.approx(COUNTED[name][0], rel=0.01)
    encoder = sum(parameter.numel() for parameter in tokenizer.encoder_parameters())
    assert 4 * encoder / 2**20 == pytest.approx(COUNTED[name][1], rel=0.01)


def test_storage_and_macs_stand_within_one_percent_of_the_papers_storage():
    paper = with_profile(yaml.safe_load((ROOT / "params.yaml").read_text()), ROOT / "config", {"profile": "paper"})
    models = {name: backbone["model"] for name, backbone in paper["backbones"].items()}
    frame = count(models, paper["data"]["size"], paper["stage1_codebooks"]["rank"])
    assert len(frame) == 12
    assert frame.storage_difference_percent.abs().max() < 1
    # 0.25 MiB are TiTok-S's latent tokens, which the paper's encoder leaves out.
    assert (frame.storage_mib - frame.corrected_storage_mib).abs().max() < 0.26
    printed = frame[frame.published_storage_mib != frame.corrected_storage_mib]
    assert set(printed.backbone) == {"maskgit_vqgan"}
    assert "global" not in set(printed.method)
    for backbone, name in {"titok_s": "titok_s128", "titok_l": "titok_l32", "maskgit_vqgan": "maskgit_vqgan"}.items():
        assert frame[frame.backbone == backbone].giga_macs.to_numpy() == pytest.approx(COUNTED[name][0], rel=0.01)


TINY = {
    "maskgit_vqgan": {"family": "maskgit_vqgan", "channels": 8, "multipliers": [1, 1], "blocks": 1, "d": 8, "K": 16},
    "titok_s": {
        "family": "titok", "patch": 8, "width": 32, "layers": 1, "heads": 2, "T": 8, "K": 16, "d": 12,
        "K_pixel": 16, "d_pixel": 8, "hidden": 32, "pixel_channels": 8, "pixel_multipliers": [1, 1, 1, 1],
        "pixel_blocks": 1,
    },
}  # fmt: skip
TINY["titok_l"] = TINY["titok_s"]


def test_parameters_are_those_of_the_modules():
    scheme = CodingScheme({**TINY["titok_s"], "image_size": 32}, M=4, K=16, shared=False, selection="router", rank=3)
    tokenizer = build(**scheme.model)
    parameters = count_parameters(tokenizer, scheme)
    tokenizer.take_codebook()
    assert parameters.encoder + parameters.decoder == sum(p.numel() for p in tokenizer.parameters())
    assert parameters.codebooks == 4 * 8 * 16 * 12
    assert parameters.router == 3 * (8 + 12 + 4) + 4
    in_one_group = parameters.codebooks // 4
    routed, nn = (edge_mib(parameters, scheme._replace(selection=s)) for s in ("router", "nn"))
    assert routed == 4 * (parameters.encoder + in_one_group + parameters.router) / 2**20
    assert nn == 4 * (parameters.encoder + parameters.codebooks + parameters.router) / 2**20
    small = edge_int8_mib(parameters, scheme, tokenizer)
    assert routed - small == pytest.approx((3 * in_one_group - 4 * tokenizer.T) / 2**20)  # 8 scales of 4 bytes


def test_measured_memory_holds_all_groups_for_nn_and_one_for_cr():
    # 64 groups of 64 entries x 1024 tokens x 12 channels: 192 MiB, one of them 3 MiB.
    sizes = {**TINY["titok_s"], "T": 1024, "image_size": 32}
    scheme = CodingScheme(sizes, M=64, K=64, shared=False, selection="nn", rank=2)
    nn, routed = (in_fresh_process(scheme._replace(selection=s), threads=1, repeats=2) for s in ("nn", "router"))
    assert nn.sender_peak_mib - routed.sender_peak_mib > 150
    for measured in (nn, routed):
        assert measured.sender_peak_mib <= measured.peak_mib
        assert len(measured.search_seconds) == 2
        assert min(measured.encoder_seconds + measured.search_seconds + measured.decoder_seconds) > 0


def test_only_the_backbones_asked_for_are_measured(monkeypatch):
    schemes = []

    def fake(scheme, threads):
        schemes.append(scheme)
        if scheme.selection == "router":
            raise MemoryError("too little")
        return MeasuredCost([1.0], [0.5 * scheme.M], [2.0, 4.0], 10.0, 20.0, "a CPU")

    monkeypatch.setattr("stscq.evaluation.measure_cost.in_fresh_process", fake)
    frame = measure_rows(TINY, ["titok_s"], image_size=32, rank=2)
    assert list(frame.columns[:3]) == list(count(TINY, 32, 2).columns[:3])  # rows are matched by them
    assert len(frame) == 12
    assert [(w.M, w.K, w.shared, w.selection) for w in schemes] == [
        (1, 4096, True, "nn"), (1, 4096, False, "nn"), (256, 256, False, "nn"), (256, 256, False, "router"),
    ]  # fmt: skip
    ours = frame[frame.backbone == "titok_s"].set_index(["method", "groups_x_entries"])
    nn = ours.loc[("nn", "256 x 256")]
    assert (nn.encode_seconds, nn.search_seconds, nn.seconds_per_image) == (129.0, 128.0, 132.0)
    assert nn.published_seconds_per_image == 0.1496
    assert ours.not_measured.to_dict()[("router", "256 x 256")] == "too little"
    others = frame[frame.backbone != "titok_s"]
    assert set(others.not_measured) == {"not measured in this profile"}
    assert others[["encode_seconds", "seconds_per_image", "sender_peak_mib", "peak_mib"]].isna().all(axis=None)


def test_every_published_row_runs_on_random_weights():
    """In this process, and sizes that are small: shapes of sender and receiver fit for every backbone."""
    for row in published_rows("cost").to_dict("records"):
        scheme = published_scheme(row, {**TINY[row["backbone"]], "image_size": 32}, rank=2)
        measured = measure(scheme._replace(M=min(scheme.M, 3), K=16), threads=1, repeats=1)
        assert len(measured.decoder_seconds) == 1


def test_too_little_memory_is_told_from_other_trouble():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**50)
    assert out_of_memory(refused.value)
    assert out_of_memory(BrokenProcessPool("a child was killed"))
    with pytest.raises(RuntimeError) as wrong:
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert not out_of_memory(wrong.value)
