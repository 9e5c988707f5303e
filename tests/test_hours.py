"""Counted hours and disk of the paper profile, against arithmetic by hand."""

import pytest

from benchmarks.hours import RATES, Work, codebook_work, jobs_of, loss_operations, table
from stscq.backbones import build

SMALL = {"family": "maskgit_vqgan", "channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "d": 8, "K": 32}
VARIANTS = {
    "global": {"shared": True, "M": 1, "K": 32, "training": "nn"},
    "token_specific": {"shared": False, "M": 1, "K": 32, "training": "nn"},
    "switchable": {"shared": False, "M": 4, "K": 8, "training": "router"},
}


def params(steps):
    stages = {name: {"steps": steps, "batch": 2, "rank": 4} for name in ("stage1_codebooks", "stage2", "stage3")}
    stages["stage3"] |= {"accumulate": 3, "identity": 0.0, "perceptual": 0.0, "perceptual_by": "recogniser"}
    return {
        "data": {"size": 32},
        "seeds": [1, 2],
        **stages,
        "backbones": {"small": {"model": SMALL, "variants": VARIANTS}},
    }


def test_operations_over_the_stated_rates():
    assert Work(RATES["mixed"] * 36, 0).hours(100) == pytest.approx(1)
    assert Work(0, RATES["float32"] * 36).hours(100) == pytest.approx(1)
    tokenizer = build(**SMALL, image_size=32)
    assert codebook_work(tokenizer, 4, 8, 5.0) == (5.0, 2 * 4 * tokenizer.T * 8 * 8)


def test_losses_see_two_pictures_and_go_back_to_one():
    recogniser = 2 * 6.3e9  # the published IResNet-50's multiplications and additions, a picture forward
    assert loss_operations(32, identity=True, lpips=False) == pytest.approx(3 * recogniser, rel=0.02)
    # AlexNet at 64 x 64: 15 x 15 places of 64 filters of 3 x 11 x 11, and so on; the heads are below a thousandth.
    alexnet = 2 * (15**2 * 64 * 363 + 7**2 * 192 * 64 * 25 + 3**2 * 9 * (384 * 192 + 256 * 384 + 256 * 256))
    assert loss_operations(64, identity=False, lpips=True) == pytest.approx(3 * alexnet, rel=0.001)
    both = loss_operations(64, identity=True, lpips=True)
    assert both == pytest.approx(3 * alexnet + loss_operations(64, identity=True, lpips=False), rel=0.001)


def test_variants_of_one_size_share_stage_1_and_each_seed_counts():
    jobs = list(jobs_of(params(10), "small"))
    assert [job.stage for job in jobs].count("stage1_codebooks") == 2
    assert [job.stage for job in jobs].count("stage2") == 3
    assert {job.jobs for job in jobs} == {2}
    assert {job.images for job in jobs if job.stage == "stage3"} == {10 * 2 * 3}
    T = build(**SMALL, image_size=32).T
    held = {job.numbers for job in jobs if job.stage == "stage2"}
    assert max(held) - min(held) >= (T - 1) * 32 * 8  # token-specific codebooks are as many as tokens


def test_twice_the_steps_take_twice_the_hours_and_the_same_disk():
    one, two = table(params(10)), table(params(20))
    assert two["GPU hours"].iloc[-1] == pytest.approx(2 * one["GPU hours"].iloc[-1])
    assert one["GPU hours"].iloc[-1] > 0
    assert two["GB"].tolist() == one["GB"].tolist()
