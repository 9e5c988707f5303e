"""params.yaml and the DAG: what is refused, and in which words, before any job."""

import re
import subprocess
import sys

import pytest
import yaml
from snakemake.cli import parse_config

from stscq.errors import ParamsError
from stscq.params import merge, numbers, stage_settings, with_profile
from stscq.params_check import check
from tests.conftest import ROOT

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


def dry_run(tmp_path, change, *options):
    """`snakemake -n all` on a changed copy of params.yaml; exit code and output."""
    for name in ("Snakefile", "workflow", "config", "profiles", "stscq"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(change))
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "all", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stage1_tokenizer": {"stepz": 3}}, "stepz"),
        ({"stage2": {"lr": "fast"}}, "lr"),
        ({"backbones": {"ibq": {"model": {"K": 0}}}}, "K"),
        ({"data": {"test_people": 4}}, "data.test_people"),
        ({"backbones": {"titok_s": {"variants": {"switchable_4x64": {"M": 3}}}}}, "switchable_4x64.M: M = 3"),
        ({"profile": "papre"}, "'papre' is none of demo"),
        ({"resources": {"stage2": {"gpus": 1}}}, "gpus"),
        ({"resources": {"stage_2": {"gpu": 1}}}, "resources.stage_2: no rule of the workflow"),
        (
            {"resources": {"stage3": {"gpu": 3}}},
            "resources.stage3.gpu: 3 cannot share ibq's stage3.batch of 4 evenly",
        ),
        ({"accept_responsible_use": None}, "accept_responsible_use: not true"),
        ({"trials": {"groups": 3}}, "trials.groups: 3 is no power of two"),
        ({"backbones": {"titok_s": {"model": {"patch": None}}}}, "titok_s.model: 'patch' is a required property"),
    ],
)
def test_impossible_parameters_stop_before_any_job(tmp_path, change, words):
    code, output = dry_run(tmp_path, merge(PARAMS, change))
    assert code != 0
    assert words in output
    assert "Traceback" not in output
    assert "Job stats" not in output
    assert len(output.splitlines()) < 10, "one clear line among Snakemake's own"


@pytest.mark.slow
def test_lost_pictures_are_noticed_as_lost_tables_are(tmp_path):
    code, output = dry_run(tmp_path, PARAMS, "--config", "profile=lfw")
    assert code == 0, output
    wanted = output.split("rule all:\n    input: ")[1].splitlines()[0].split(", ")
    for backbone in PARAMS["backbones"]:
        assert f"data/lfw/sheets/{backbone}.npz" in wanted
        assert f"data/lfw/coded_portraits/{backbone}/global.npz" in wanted
    assert "data/lfw/portraits/images.npy" in wanted


def rules_of(file):
    """Name -> text of each rule of a file that runs something."""
    parts = re.split(r"^rule (\w+):$", file.read_text(), flags=re.MULTILINE)
    return {name: text for name, text in zip(parts[1::2], parts[2::2], strict=True) if "shell:" in text}


def test_every_rule_asks_for_what_params_say_of_it():
    files = (ROOT / "workflow" / "rules").glob("*.smk")
    rules = {name: text for file in files for name, text in rules_of(file).items()}
    assert len(rules) > 30
    for name, text in rules.items():
        assert f'**resources_of("{name}")' in text
        assert f'threads_of("{name}")' in text


@pytest.mark.slow
def test_resources_reach_the_jobs(tmp_path):
    asks = {"default": {"mem_mb": 300}, "stage3": {"gpu": 2, "runtime": 7}}
    params = merge(PARAMS, {"resources": asks})
    code, output = dry_run(tmp_path, params, "--printshellcmds", "--cores", "3", "--config", "seeds=[1]")
    assert code == 0, output
    said = {}
    for block in output.split("\nrule ")[1:]:
        said.setdefault(block.split(":")[0], set()).add(re.search(r"resources: (.*)", block)[1])
    assert all("runtime=7, gpu=2, mem_mb=4000," in line for line in said["stage3"])
    assert all("runtime=60, gpu=0, mem_mb=300," in line for line in said["stage2"])
    assert "-m stscq.training.launch 2 stscq.training.stage3 " in output  # a process for each GPU
    assert "-m stscq.training.stage3 " not in output
    assert "-m stscq.training.stage2 " in output
    assert "threads: 3" in output.split("\nrule measure_cost:")[1].split("\nrule ")[0]


def job_counts(output):
    lines = [line.split() for line in output.split("Job stats:")[1].splitlines()]
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["paper", "paper_v100"])
def test_the_paper_profile_lists_every_job_without_data_or_weights(tmp_path, profile):
    code, output = dry_run(tmp_path, PARAMS, "--config", f"profile={profile}")
    assert code == 0, output
    counts = job_counts(output)
    # Weights: four tokenizers, two recognisers, three files of LPIPS and FID. Sets: five benchmarks, four groups of
    # RFW, ImageNet's two sides. Variants of maskgit_vqgan, titok_s, titok_l, ibq and titok_s on ImageNet.
    assert counts["download_weights"] == counts["verify_weights"] == 9
    assert counts["prepare_set"] == 11
    assert counts["stage1_tokenizer"] == 3 * 5
    assert "keep_latents" not in counts  # half a million faces
    assert counts["stage1_codebooks"] == 3 * (2 + 8 + 2 + 1 + 1)  # variants of the same M, K and selection share one
    assert counts["stage2"] == counts["stage3"] == 3 * (3 + 10 + 3 + 2 + 2)
    # Five benchmarks for every codec, the four groups of RFW for those of published rows.
    faces = 3 * (5 * (4 + 11 + 4 + 3) + 4 * (3 + 5 + 3 + 2))
    assert counts["evaluate"] == faces + 3 * 3
    assert counts["evaluate_original"] == 3 * 9
    assert counts["second_judge_original"] == 3 * 5
    assert "second_judge" not in counts
    assert "train_recogniser" not in counts


def test_every_job_of_the_paper_profile_that_judges_or_encodes_asks_for_a_gpu():
    """Else it would wait for one that another job holds, where a scheduler knows nothing of it."""
    asked = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())["resources"]
    needs = ("own_device(", "load_recogniser(", "open_image_set(")
    found = set()
    for file in (ROOT / "workflow" / "rules").glob("*.smk"):
        if file.name in ("pretrain.smk", "distil.smk"):  # another profile's
            continue
        for rule, text in re.findall(r"^rule (\w+):(.*?)(?=^rule |\Z)", file.read_text(), re.M | re.S):
            modules = re.findall(r"(?:-m|START\[\w+\]\}) (stscq[.\w]+)", text)
            sources = [(ROOT / f"{module.replace('.', '/')}.py").read_text() for module in modules]
            if any(need in source for source in sources for need in needs):
                found.add(rule)
    assert found >= {"evaluate", "evaluate_peer", "export_bundle", "redundancy"}
    unasked = {rule for rule in found if not asked.get(rule, {}).get("gpu")}
    assert unasked <= {"answer", "sensitivity", "train_recogniser"}, "of these the profile has none"


@pytest.mark.slow
def test_missing_data_sets_stop_a_run_before_any_job(tmp_path):
    for name in ("Snakefile", "workflow", "config", "profiles", "params.yaml", "stscq"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "all", "--config", "profile=paper"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "missing data sets, see docs/paper-profile.md (LFW: stscq fetch lfw): " in said
    assert "data.source: datasets/faces_webface_112x112; " in said
    assert "sets.imagenet_val.source: datasets/imagenet/val" in said
    assert not (tmp_path / "weights").exists()
    # Where no job reads it, nobody is asked for it: what was made of it may have come from elsewhere.
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "data/lfw/cost/cost.csv", "--config", "profile=lfw"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/lfw/cost/cost.csv").is_file()


@pytest.mark.slow
def test_the_dag_is_complete(tmp_path):
    code, output = dry_run(tmp_path, PARAMS)
    assert code == 0, output
    variants = sum(len(b["variants"]) for b in PARAMS["backbones"].values())
    counts, searched = job_counts(output), 1  # unequal_4_bits_effort: the bundle of its twin
    pretrained = sum("published_weights" in b for b in PARAMS["backbones"].values())
    assert counts["stage1_tokenizer"] == 3 * (4 + pretrained)
    assert counts["keep_latents"] == 3 * 4
    assert counts["stage2"] == counts["stage3"] == 3 * (variants - searched)
    assert counts["evaluate"] == 3 * (4 + pretrained + variants)


FROM_NOTHING = {"published_weights": None, "pixel_decoder": "maskgit_vqgan"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbones": {"ibq": {"variants": {"token_specific": {"K": 512}}}}}, "more than the tokenizer's codebook"),
        ({"backbones": {"titok_l": {**FROM_NOTHING, "pixel_decoder": "ibq"}}}, "'ibq' is no maskgit_vqgan"),
        ({"backbones": {"ibq": {"pretrain": {"like": "ibq"}}}}, "pretrain.like: 'ibq' is no other backbone"),
        ({"backbones": {"ibq": {"pretrain": {"like": "x"}}}}, "pretrain.like: 'x' is no other backbone"),
        (
            {"backbones": {"ibq": {"pretrain": {"like": "titok_s"}}, "titok_s": {"pretrain": {"like": "ibq"}}}},
            "titok_s.pretrain.like: 'titok_s' is no other backbone, or needs this one first",
        ),
        ({"pretrain": {"like": "titok_s"}}, "^pretrain.like: only under backbones"),
        ({"backbones": {"ibq": {"refine": {"like": "titok_s"}}}}, "ibq.refine.like: only under backbones"),
        (
            {"backbones": {"titok_l": {**FROM_NOTHING, "stage1_tokenizer": {"steps": 2, "continuous_steps": 3}}}},
            "is more",
        ),
        (
            {"backbones": {"titok_l": {**FROM_NOTHING, "stage1_tokenizer": {"steps": 0}}}},
            "titok_l.stage1_tokenizer.steps: 0",
        ),
        ({"stage2": {"lr": float("nan")}}, "stage2.lr: not a finite number"),
        ({"stage3": {"identity": float("inf")}}, "stage3.identity: not a finite number"),
        ({"data": {"source": "my {best} photos"}}, "data.source: Snakemake reads braces"),
        ({"backbones": {"ibq": {"published_weights": "a}.safetensors"}}}, "backbones.ibq.published_weights: Snakemake"),
        ({"data": {"folds": 11}}, "data.test_people: 20 people"),
        ({"evaluate_on": ["lfw"]}, "evaluate_on: 'lfw' is no set with verification pairs"),
        ({"evaluate_on": []}, "evaluate_on: name at least one"),
        ({"sets": {"x": {"kind": "rfw", "source": "x"}}}, r"sets\.x\.group: name the folder"),
        ({"backbones": {"ibq": {"train_on": "x"}}}, "ibq: train_on and evaluate_on go together"),
        (
            {"backbones": {"ibq": {"train_on": "x", "evaluate_on": ["x"]}}},
            "ibq: 'x' is none of the sets of kind images",
        ),
        (
            {"stage3": {"perceptual_by": "lpips"}},
            "stage3.perceptual_by: lpips needs metrics.alexnet and",
        ),
        ({"accept_responsible_use": None}, r"accept_responsible_use: not true, .*; read RESPONSIBLE_USE\.md"),
        ({"accept_responsible_use": False}, "accept_responsible_use: not true"),
        ({"judge": "a.onnx", "recogniser": {"published_weights": "a.onnx"}}, "judge: a.onnx also trains"),
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


def test_a_profile_may_lie_over_another_one(tmp_path):
    (tmp_path / "low.yaml").write_text("stage1_tokenizer: {steps: 5, batch: 2}\nbackbones: {ibq: null}")
    (tmp_path / "high.yaml").write_text("extends: low\nstage1_tokenizer: {steps: 7}")
    merged = with_profile(PARAMS, tmp_path, {"profile": "high"})
    assert (merged["stage1_tokenizer"]["steps"], merged["stage1_tokenizer"]["batch"]) == (7, 2)
    assert "ibq" not in merged["backbones"]
    assert merged["profile"] == "high"
    (tmp_path / "low.yaml").write_text("extends: high")
    with pytest.raises(ParamsError, match="'high' is none of demo, high, low"):
        with_profile(PARAMS, tmp_path, {"profile": "high"})


@pytest.mark.parametrize("name", ["my faces", "../faces", "fäces", ""])
def test_a_profile_is_named_as_a_folder_is(name, tmp_path):
    (tmp_path / f"{name}.yaml").write_text("seeds: [1]")
    with pytest.raises(ParamsError, match="letters, digits, - and _"):
        with_profile(PARAMS, tmp_path, {"profile": name})


def test_both_paper_profiles_see_the_same_images_a_step():
    profiles = [with_profile(PARAMS, ROOT / "config", {"profile": name}) for name in ("paper", "paper_v100")]
    for params in profiles:
        check(params)
    for backbone in profiles[0]["backbones"]:
        for stage in ("stage1_tokenizer", "stage1_codebooks", "stage2", "stage3"):
            a, b = (stage_settings(params, backbone, stage) for params in profiles)
            assert a["batch"] * a.get("accumulate", 1) == b["batch"] * b.get("accumulate", 1)
            assert {**a, "batch": 0, "accumulate": 0} == {**b, "batch": 0, "accumulate": 0}


def test_the_paper_profile_has_the_published_steps_and_the_short_one_fewer():
    """METHOD: 100 K, 400 K, 100 K at a first rate of 1e-4; the two differ in nothing else."""
    paper, short = (with_profile(PARAMS, ROOT / "config", {"profile": name}) for name in ("paper", "paper_short"))
    check(short)
    stages = ("stage1_codebooks", "stage2", "stage3")
    assert [paper[stage]["steps"] for stage in stages] == [100_000, 400_000, 100_000]
    assert [paper[stage]["lr"] for stage in stages] == [1e-4] * 3
    assert all(short[stage]["steps"] < paper[stage]["steps"] for stage in stages)
    for stage in stages:
        short[stage] |= {key: paper[stage][key] for key in ("steps", "lr")}
    assert short == paper | {"profile": "paper_short"}


def test_a_backbone_may_have_its_own_numbers():
    own = merge(PARAMS, {"backbones": {"ibq": {"stage2": {"lr": 0.5}}}})
    assert stage_settings(own, "ibq", "stage2")["lr"] == 0.5
    variant = {"backbones": {"ibq": {"variants": {"token_specific": {"stage2": {"lr": 0.7}}}}}}
    own = merge(own, variant)
    assert stage_settings(own, "ibq", "stage2", "token_specific")["lr"] == 0.7
    assert stage_settings(own, "ibq", "stage2", "global")["lr"] == 0.5
    assert stage_settings(own, "titok_s", "stage2")["lr"] == PARAMS["stage2"]["lr"]


def test_numbers_that_yaml_reads_as_strings():
    assert numbers({"a": ["1e-3", "x1e3", 2], "b": {"c": "-2.5E+4"}}) == {"a": [0.001, "x1e3", 2], "b": {"c": -25000.0}}


def test_what_is_given_on_the_command_line_is_read_as_in_a_file():
    given = parse_config(
        ['stage2={"lr": 0.1, "steps": 3, "weight_decay": 1e-3}', "seeds=[1]", "profile=demo", "sets={}"]
    )
    merged = with_profile(PARAMS, ROOT / "config", given)
    assert merged["stage2"] == {**PARAMS["stage2"], "lr": 0.1, "steps": 3, "weight_decay": 0.001}
    assert merged["seeds"] == [1]
    check(merged)


@pytest.mark.slow
def test_numbers_of_the_command_line_reach_the_jobs(tmp_path):
    given = ['stage2={"lr": 0.1}', 'stage3={"adversarial": 0.01}', "seeds=[1]"]
    fewer = {"allocation": {"power": 2, "bits": 250}}
    own = {"maskgit_vqgan": {"variants": {"unequal_4_bits": fewer, "unequal_4_bits_effort": fewer}}}
    code, output = dry_run(tmp_path, merge(PARAMS, {"backbones": own}), "--printshellcmds", "--config", *given)
    assert code == 0, output
    commands = [line for line in output.splitlines() if "stscq.training.stage2" in line]
    assert sum("--bits 250 " in command and "--power 2.0 " in command for command in commands) == 1
    trained = [v for b in PARAMS["backbones"].values() for v in b["variants"].values() if "effort" not in v]
    assert len(commands) == len(trained)
    assert all("--seed 1 " in command and "--lr 0.1 " in command for command in commands)
    commands = [line for line in output.splitlines() if "stscq.training.stage3" in line]
    assert commands
    assert all("--adversarial 0.01 " in command for command in commands)


def test_a_profile_may_be_empty(tmp_path):
    (tmp_path / "mine.yaml").write_text("# as the demo\n")
    assert with_profile(PARAMS, tmp_path, {"profile": "mine"}) == {**numbers(PARAMS), "profile": "mine"}
