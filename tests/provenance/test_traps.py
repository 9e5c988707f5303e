"""Snakemake and DVC on one project, by the real commands. Numbers are those of the list in docs/provenance.md.

`make provenance`; not among the other tests, because each builds or copies a project that ran.
"""

import base64
import json
import os

import pytest

pytestmark = pytest.mark.provenance
REPORT = {"summarise": 1, "metrics": 1, "table": 2, "figure": 2, "page": 1}
FROM_STAGE3 = {"export_bundle": 2, "evaluate": 2, **REPORT}
STAGE2 = {"stage2": 2, "stage3": 2, **FROM_STAGE3}
EVERY = {**STAGE2, "stage1_codebooks": 2, "export_bundle": 3, "evaluate": 3}
ALL_STAGES = {"stage1_tokenizer": 1, "keep_latents": 1, **EVERY}
RECOGNISER = {"train_recogniser": 1, "second_judge_original": 1}
SWITCHABLE = {"stage2": 1, "stage3": 1, "export_bundle": 1, "evaluate": 1, **REPORT}


def test_nothing_to_do_after_a_run_for_both_tools(project):
    assert project.jobs() == {}
    assert not project.stale()
    assert "Stage 'workflow' didn't change" in project.run("dvc repro")


def test_1_two_equal_numbers_that_change_places_are_seen(project):
    project.edit("params.yaml", "balance: 1.0\n  confidence: 0.1", "balance: 0.1\n  confidence: 1.0")
    assert project.jobs() == {"stage1_codebooks": 2, **STAGE2}
    assert project.stale()


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("stscq/data/orl.py", "ENLARGED = 300", "ENLARGED = 302", "prepare_faces"),
        ("stscq/recognition/arcface.py", "* 0.01)", "* 0.02)", "train_recogniser"),
        ("stscq/training/codebook_training.py", "REVIVE_UNTIL = 0.6", "REVIVE_UNTIL = 0.5", "stage2"),
        ("stscq/training/stage3.py", "with torch.no_grad():", "with torch.inference_mode():", "stage3"),
        ("stscq/evaluation/verification.py", "1e-3", "2e-3", "evaluate"),
        ("stscq/report/render.py", '"psnr": 2', '"psnr": 3', "table"),
    ],
)
def test_2_and_11_code_edits_run_their_rules_and_comments_run_nothing(project, path, old, new, expected):
    project.edit(path, "\nimport ", "\n# a comment\nimport ")
    assert project.jobs() == {}  # dvc status sees the comment, and dvc repro finds nothing to do
    project.edit(path, old, new)
    assert expected in project.jobs()
    assert project.stale()


def test_3_a_fresh_clone_has_nothing_to_do_after_a_pull_and_sees_later_edits(clone):
    assert clone.jobs() == {}
    assert not clone.stale()
    clone.params(stage3={"lr": 0.001})
    assert clone.jobs() == {"stage3": 2, **FROM_STAGE3}


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"data": {"size": 48}},
         {"prepare_faces": 1, "prepare_split": 1, "evaluate_original": 1, **RECOGNISER, **ALL_STAGES}),
        ({"recogniser": {"lr": 0.003}}, {**RECOGNISER, **ALL_STAGES}),
        ({"stage1_tokenizer": {"lr": 0.002}}, ALL_STAGES),
        ({"backbones": {"maskgit_vqgan": {"variants": {"switchable_4x16": {"stage2": {"lr": 0.01}}}}}}, SWITCHABLE),
        ({"stage3": {"lr": 0.001}}, {"stage3": 2, **FROM_STAGE3}),
    ],
    ids=["data", "recogniser", "stage1_tokenizer", "stage2 of one variant", "stage3"],
)  # fmt: skip
def test_3_an_edit_of_a_clone_runs_what_it_concerns_and_no_more(clone, change, jobs):
    clone.params(**change)
    assert clone.jobs() == jobs
    assert clone.stale()


def test_a_dry_run_changes_nothing(project):
    before = project.snapshot()
    for _ in range(2):
        assert project.jobs() == {}
        assert project.snapshot() == before
    project.params(stage3={"lr": 0.001})
    (project.folder / "models/demo/maskgit_vqgan/stage2/global/seed1/stage2.run.json").touch()
    edited = project.snapshot()
    assert project.jobs() == {"stage3": 2, **FROM_STAGE3}
    assert project.snapshot() == edited
    project.params(stage3={"lr": 0.0005})
    assert project.jobs() == {}


def test_an_output_moved_away_and_put_back_costs_nothing(project, tmp_path):
    for top in ("data/demo/faces/images.npy", "models/demo/maskgit_vqgan/stage1_tokenizer/fine_tuned/seed1"):
        project.run(f"mv {top} {tmp_path}/aside")
        assert project.jobs()
        project.run(f"mv {tmp_path}/aside {top}")
        assert project.jobs() == {}


def test_4_an_edit_before_anything_else_really_runs_in_dvc(clone):
    assert "persist: true" in (clone.folder / "dvc.yaml").read_text()  # Snakemake says what runs
    before = clone.contents()
    clone.params(stage3={"lr": 0.001})
    said = clone.run("dvc repro")
    assert "rule stage3:" in said
    assert "rule stage2:" not in said
    after = clone.contents()
    changed = {name for name in before if before[name] != after[name]}
    weights = {f"models/demo/maskgit_vqgan/stage3/{v}/seed1/weights.safetensors" for v in ("global", "switchable_4x16")}
    assert weights <= changed
    assert not any("stage1_" in name or "stage2/" in name for name in changed if name.startswith("models"))
    assert clone.jobs() == {}
    assert not clone.stale()


ENTRIES = {"backbones": {"maskgit_vqgan": {"variants": {"switchable_4x16": {"K": 2}}}}}


def test_5_an_old_model_that_dvc_brings_back_is_not_called_current(project):
    project.params(**ENTRIES)
    project.run("snakemake --cores 2 all")
    assert project.jobs() == {}
    new = project.contents()
    project.run("dvc checkout -q --force")
    assert project.jobs() == {"stage1_codebooks": 1, **SWITCHABLE}  # of other entries: a folder of their own
    # Recorded by hand after another run, nothing old is in what others get.
    project.run("snakemake --cores 2 all && dvc commit -q --force && git add -A && git commit -qm new")
    assert project.contents() == new
    assert not project.stale()
    project.run("rm -rf data models .dvc/cache/runs && dvc checkout -q --force")
    assert project.contents() == new
    assert project.jobs() == {}


@pytest.mark.parametrize("part", ["models/demo", "data/demo", ".snakemake/metadata/demo"])
def test_5_files_without_their_notes_are_not_called_current(project, part):
    project.params(**ENTRIES)
    project.run("snakemake --cores 2 all")
    project.run(f"dvc checkout -q --force {part}")
    jobs = project.jobs()
    assert "stage1_tokenizer" not in jobs
    assert "summarise" in jobs
    assert part == "data/demo" or jobs["stage2"] == 1


def test_5_results_of_another_commit_come_and_go_with_it(project):
    project.params(**ENTRIES)
    project.run("dvc repro -q && git add -A && git commit -qm new")
    for commit in ("HEAD~1", "-"):
        project.run(f"git checkout -q {commit} && dvc checkout -q")
        assert project.jobs() == {}
        assert not project.stale()


def test_6_and_10_snakemake_first_and_then_dvc(project):
    project.params(stage3={"lr": 0.001})
    project.run("snakemake --cores 2 all")
    for expected in ("Nothing to be done", "Stage 'workflow' didn't change"):
        assert expected in project.run("dvc repro")
        assert project.jobs() == {}
        assert not project.stale()
    project.run("dvc commit -q --force")
    assert project.jobs() == {}


def test_7_a_clone_without_models_has_work_to_do(made, tmp_path):
    clone = type(made)(tmp_path / "bare")
    made.run(f"git clone -q . {clone.folder}")
    assert (clone.folder / "results/demo/tables/main.md").is_file()
    assert clone.jobs()["stage1_tokenizer"] == 1
    assert clone.run("git status --porcelain") == ""  # a look takes nothing away: after a pull nothing is to be done
    clone.run("dvc pull -q")
    assert clone.jobs() == {}


@pytest.mark.parametrize("damage", ["delete", "truncate", "edit", "same size and time"])
def test_8_and_12_outputs_changed_by_hand_are_noticed(project, damage):
    file = project.folder / "models/demo/maskgit_vqgan/stage2/global/seed1/weights.safetensors"
    content, times = file.read_bytes(), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    file.unlink()  # it may be a link into the cache
    if damage == "truncate":
        file.write_bytes(content[:-100])
    elif damage == "edit":
        file.write_bytes(content + b"x")
    elif damage == "same size and time":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(file, ns=times)
    jobs = project.jobs()
    assert jobs["stage2"] == 1
    assert "train_recogniser" not in jobs
    assert "stage1_tokenizer" not in jobs
    assert project.stale()
    project.run("snakemake --cores 2 all")
    assert file.read_bytes() == content
    assert project.jobs() == {}


def test_8_touch_calls_nothing_current(project):
    project.params(stage3={"lr": 0.001})
    project.run("snakemake --cores 1 --touch all")
    assert project.jobs() == {"stage3": 2, **FROM_STAGE3}


def test_9_a_dropped_seed_that_comes_back_is_made_anew_and_no_other(clone):
    clone.params(seeds=[1, 2])
    clone.run("dvc repro")
    clone.params(seeds=[1])
    assert clone.jobs() == REPORT  # and trains nothing
    records = sorted((clone.folder / "models").rglob("seed1/*.run.json"))
    before = {file: file.read_text() for file in records}
    clone.run("dvc repro")
    assert {file: file.read_text() for file in records} == before
    assert not clone.stale()
    assert clone.jobs() == {}
    clone.params(stage3={"lr": 0.001})
    clone.run("dvc repro")
    clone.params(seeds=[1, 2])
    assert clone.jobs() == {"stage3": 2, **FROM_STAGE3}


def test_12_an_edit_of_a_rule_is_noticed_by_dvc(project):
    project.edit("workflow/rules/stage3.smk", '"seed": int(wc.seed)', '"save_seconds": 40, "seed": int(wc.seed)')
    assert project.stale()


def test_20_a_rule_that_names_a_further_output_runs_when_its_code_changed(project):
    project.run("snakemake --cores 1 --cleanup-metadata $(find models -name context.safetensors)")
    project.edit("workflow/rules/codec.smk", '"tables", "context")', '"context", "tables")')
    project.edit("stscq/codec/bitstream/fit_context.py", "RANK = 32", "RANK = 31")
    assert project.jobs()["export_bundle"] == 3


def test_14_the_workflow_profile_is_used(project):
    assert "profiles/default" in project.run("snakemake -n --cores 2 all")


def test_15_numbers_as_yaml_and_dvc_write_them(project):
    project.edit("params.yaml", "lr: 0.0005", "lr: 5e-4")
    assert project.jobs() == {}
    project.edit("params.yaml", "lr: 5e-4", "lr: 1e-4")
    assert project.jobs()["stage3"] == 2


def test_16_and_17_wrong_parameters_and_code_stop_both_tools_before_anything_is_removed(project):
    before = project.contents()
    project.params(stage2={"stepz": 3})
    for command in ("snakemake --cores 2 all", "dvc repro"):
        assert "stepz" in project.fails(command)
    project.params(stage2={"stepz": None})
    project.edit("stscq/quantization/losses.py", "def balance_loss(", "def balance_loss((")
    for command in ("snakemake --cores 2 all", "dvc repro"):
        assert "losses.py" in project.fails(command)
    assert project.contents() == before


def test_18_snakemakes_own_report_works(project):
    project.run("snakemake --cores 1 --report report.html all")
    assert (project.folder / "report.html").stat().st_size > 100_000


def test_19_dvc_experiments_and_metrics(project):
    assert "rule stage3:" in project.run("dvc exp run -S stage3.lr=0.001")
    assert "psnr" in project.run("dvc metrics show --json")
    difference = json.loads(project.run("dvc params diff --json"))
    assert (difference["params.yaml"]["stage3.lr"]["old"], difference["params.yaml"]["stage3.lr"]["new"]) == (
        5e-4,
        1e-3,
    )
    assert project.run("dvc metrics diff --json").strip() != "{}"
    assert project.jobs() == {}


def test_two_people_share_one_remote(made, clone, tmp_path):
    clone.run("git config user.email c@d.e && git config user.name y")
    clone.params(stage3={"lr": 0.001})
    clone.run("dvc repro && dvc push -q && git add -A && git commit -qm mine")
    other = type(made)(tmp_path / "other")
    made.run(f"git clone -q {clone.folder} {other.folder}")
    other.run("dvc pull -q")
    assert other.jobs() == {}
    assert not other.stale()
    assert other.contents() == clone.contents()


def test_why(project):
    path = "models/demo/maskgit_vqgan/stage2/global/seed1/weights.safetensors"
    said = project.run(f"python -m stscq.cli why {path}")
    assert "made by   -m stscq.training.stage2" in said
    assert "current   yes" in said
    project.params(stage2={"lr": 0.1})
    said = project.fails(f"python -m stscq.cli why {path}")
    assert "current   no: Params have changed" in said
    assert "--lr 0.1" in said
    later = "data/demo/evaluation/maskgit_vqgan/global/test/seed1/metrics.json"
    assert "current   no: " in project.fails(f"python -m stscq.cli why {later}")
    assert "no record beside it" in project.fails("python -m stscq.cli why README.md")


def noted(project, profile):
    """The outputs that a profile's notes speak of; Snakemake names a note by its output in base64."""
    notes = project.folder / ".snakemake/metadata" / profile
    return [base64.b64decode(note.name.split("@")[-1]).decode() for note in notes.rglob("*") if note.is_file()]


def test_another_profile_leaves_the_notes_of_this_one_alone(project):
    (project.folder / "config/small.yaml").write_text("seeds: [2]")
    project.run("snakemake --cores 2 data/small/faces/index.parquet --config profile=small")
    assert project.jobs() == {}
    assert noted(project, "small")
    assert all("/small/" in output for output in noted(project, "small"))
    assert noted(project, "demo")
    assert all("/small/" not in output for output in noted(project, "demo"))
    project.run("git checkout -q . && rm config/small.yaml")
    assert not project.stale()
