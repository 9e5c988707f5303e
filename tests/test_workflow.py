"""params.yaml and the DAG: what is refused, and in which words, before any job."""

import subprocess
import sys

import pytest
import yaml

from stscq.errors import ParamsError
from stscq.params import check, merge, numbers, stage_settings, with_profile
from tests.conftest import ROOT

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def dry_run(tmp_path, change):
    """`snakemake -n all` on a changed copy of params.yaml; exit code and output."""
    for name in ("Snakefile", "workflow", "config", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(change))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "all"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stage1": {"stepz": 3}}, "stepz"),
        ({"stage2": {"lr": "fast"}}, "lr"),
        ({"backbones": {"ibq": {"model": {"K": 0}}}}, "K"),
        ({"data": {"test_people": 4}}, "data.test_people"),
        ({"backbones": {"titok_s": {"variants": {"switchable_16x16": {"M": 3}}}}}, "switchable_16x16.M: M = 3"),
        ({"profile": "papre"}, "'papre' is none of demo"),
    ],
)
def test_impossible_parameters_stop_before_any_job(tmp_path, change, words):
    code, output = dry_run(tmp_path, merge(PARAMS, change))
    assert code != 0
    assert words in output
    assert "Traceback" not in output
    assert "Job stats" not in output


@pytest.mark.slow
def test_the_dag_is_complete(tmp_path):
    code, output = dry_run(tmp_path, PARAMS)
    assert code == 0, output
    variants = sum(len(b["variants"]) for b in PARAMS["backbones"].values())
    lines = output.split("Job stats:")[1].splitlines()
    counts = {
        line.split()[0]: int(line.split()[1]) for line in lines if len(line.split()) == 2 and line.split()[1].isdigit()
    }
    assert counts["stage1"] == 3 * 4
    assert counts["stage2"] == counts["stage3"] == 3 * variants
    assert counts["evaluate"] == 3 * (4 + variants)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbones": {"ibq": {"variants": {"token_specific": {"K": 32}}}}}, "more than the global codebook"),
        ({"backbones": {"ibq": {"variants": {"global": {"M": 2}}}}}, "M must be 1"),
        ({"backbones": {"titok_s": {"pixel_decoder": "ibq"}}}, "'ibq' is no maskgit_vqgan"),
        ({"stage1": {"steps": 10}}, "continuous_steps"),
        ({"data": {"folds": 11}}, "data.test_people: 20 people"),
    ],
)
def test_problems_between_keys_name_the_key(change, words):
    with pytest.raises(ParamsError, match=words):
        check(merge(PARAMS, change))


def test_profiles_are_laid_over_and_what_is_given_wins():
    merged = with_profile(PARAMS, ROOT / "config", {"profile": "smoke", "stage3": {"steps": 7}})
    assert merged["seeds"] == [1]
    assert merged["stage3"]["steps"] == 7
    assert merged["stage3"]["lr"] == PARAMS["stage3"]["lr"]
    check(merged)
    check(with_profile(PARAMS, ROOT / "config", {"profile": "tune"}))


def test_a_backbone_may_have_its_own_numbers():
    own = merge(PARAMS, {"backbones": {"ibq": {"stage2": {"lr": 0.5}}}})
    assert stage_settings(own, "ibq", "stage2")["lr"] == 0.5
    assert stage_settings(own, "titok_s", "stage2")["lr"] == PARAMS["stage2"]["lr"]


def test_numbers_that_yaml_reads_as_strings():
    assert numbers({"a": ["1e-3", "x1e3", 2], "b": {"c": "-2.5E+4"}}) == {"a": [0.001, "x1e3", 2], "b": {"c": -25000.0}}
