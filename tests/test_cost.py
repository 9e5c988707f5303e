"""Counts at published size, against independent counts of the public models and the paper's storage column."""

import pytest
import yaml

from stscq.evaluation.cost import count_macs, encoder_mib, on_meta
from stscq.evaluation.count_cost import count
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
    assert encoder_mib(tokenizer) == pytest.approx(COUNTED[name][1], rel=0.01)


def test_storage_and_macs_stand_within_one_percent_of_the_papers_storage():
    paper = with_profile(yaml.safe_load((ROOT / "params.yaml").read_text()), ROOT / "config", {"profile": "paper"})
    models = {name: backbone["model"] for name, backbone in paper["backbones"].items()}
    frame = count(models, paper["data"]["size"], paper["stage2"]["rank"])
    assert len(frame) == 12
    assert frame.storage_difference_percent.abs().max() < 1
    # 0.25 MiB are TiTok-S's latent tokens, which the paper's encoder leaves out.
    assert (frame.storage_mib - frame.corrected_storage_mib).abs().max() < 0.26
    printed = frame[frame.published_storage_mib != frame.corrected_storage_mib]
    assert set(printed.backbone) == {"maskgit_vqgan"}
    assert "global" not in set(printed.method)
    for backbone, name in {"titok_s": "titok_s128", "titok_l": "titok_l32", "maskgit_vqgan": "maskgit_vqgan"}.items():
        assert frame[frame.backbone == backbone].giga_macs.to_numpy() == pytest.approx(COUNTED[name][0], rel=0.01)
