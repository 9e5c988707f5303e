"""A decoder that the judge taught: gradients reach it, it is marked, and it is in no claim, mean, pick or ratio."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from stscq.codec import export
from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.errors import ParamsError, StscqError
from stscq.evaluation import evaluate, original, second_judge
from stscq.params import merge, outside_claims, twin
from stscq.params_check import check
from stscq.quantization.trained_codec import load_codec
from stscq.recognition.base import unit
from stscq.recognition.frozen import DLIB, load_frozen
from stscq.recognition.load import load_recogniser
from stscq.report.figures import FIGURES
from stscq.report.metrics import metrics
from stscq.report.table import MAKERS
from stscq.training import stage3
from stscq.training.losses import ImageLossWeights
from tests.report_fixtures import make_summary
from tests.test_workflow import PARAMS, dry_run, job_counts
from tests.trained import CPU, STAGE3, same_tensors, weights

DLIB_LOSS = ImageLossWeights(reconstruction=0.0, perceptual=0.0, identity=1.0)


def test_the_frozen_dlib_embeds_as_the_judge_does(faces):
    images = open_store(faces).images[:8]
    frozen = load_frozen(DLIB, CPU)
    maps, embedding = frozen.maps_and_embedding(frozen.prepare(to_float(images)))
    assert np.abs(unit(embedding.numpy()) - load_recogniser("dlib").embed(images)).max() < 0.01
    assert [one.shape[1] for one in maps] == [32, 64, 128, 256, 256]
    assert [one.shape[2] for one in maps] == sorted({one.shape[2] for one in maps}, reverse=True)


def test_dlibs_identity_loss_reaches_the_decoder_alone(second, faces):
    codec, _ = load_codec(second, CPU)
    frozen = load_frozen(DLIB, CPU)
    batch = to_float(open_store(faces).images[:2])
    terms = stage3.stage3_loss(codec, batch, frozen, DLIB_LOSS)
    torch.testing.assert_close(terms["loss"], terms["identity"])
    terms["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in codec.tokenizer.decoder.parameters())
    untouched = [*codec.tokenizer.encoder.parameters(), codec.codebooks.weight, *frozen.parameters()]
    assert all(p.grad is None for p in untouched)


def test_stage_3_taught_by_dlib_says_so(places, second, tmp_path):
    given = {**STAGE3, "steps": 2, "batch": 2, "start": second}
    stage3.main(**places, **given, out=tmp_path / "own")
    stage3.main(**{**places, "recogniser": DLIB}, **given, out=tmp_path / "taught", taught_by="dlib")
    assert not same_tensors(weights(tmp_path / "own"), weights(tmp_path / "taught"))
    cards = {}
    for name in ("own", "taught"):
        export.main(places["store"], places["split"], tmp_path / name, tmp_path / f"{name}_bundle")
        cards[name] = json.loads((tmp_path / f"{name}_bundle" / "card.json").read_text())["training"]
    assert cards["own"]["decoder taught by"] == "the recogniser of training"
    assert cards["taught"]["decoder taught by"].startswith("dlib, which also judges")


def test_the_second_judge_judges_the_same_pairs(places, split, second, recogniser, tmp_path):
    store, onnx = places["store"], str(recogniser / "recogniser.onnx")
    stage3.main(**places, **{**STAGE3, "steps": 1}, start=second, out=tmp_path / "trained")
    export.main(store, places["split"], tmp_path / "trained", tmp_path / "bundle")
    for judge in ("dlib", onnx):
        name = "second" if judge == onnx else "first"
        original.main(
            store, split / "pairs.parquet", store, places["split"], tmp_path / f"{name}_original", judge, True
        )
    evaluate.main(store, tmp_path / "bundle", tmp_path / "first", "dlib", "{}", tmp_path / "first_original")
    given = store, tmp_path / "bundle", tmp_path / "second_original"
    second_judge.main(*given, tmp_path / "first", onnx, tmp_path / "second")
    frames = {name: pd.read_parquet(tmp_path / name / "images.parquet") for name in ("first", "second")}
    one = frames["first"][frames["first"].selection == "nn"].reset_index(drop=True)
    other = frames["second"]
    pd.testing.assert_series_equal(one.psnr, other.psnr)  # the very same reconstructions
    assert np.abs(one.ids - other.ids).max() > 1e-3  # seen by another recogniser
    pairs = [pd.read_parquet(tmp_path / name / "pairs.parquet") for name in ("first", "second")]
    pairs = [p[(p.selection == "nn") & (p.protocol == p.protocol.iloc[0])] for p in pairs]
    assert pairs[0][["a", "b", "fold"]].to_numpy().tolist() == pairs[1][["a", "b", "fold"]].to_numpy().tolist()
    measured = json.loads((tmp_path / "second_original" / "metrics.json").read_text())
    assert measured["pairs"] == len(pd.read_parquet(split / "pairs.parquet"))
    assert measured["people"] == 4
    files = pd.read_parquet(tmp_path / "first" / "files.parquet")
    files[1:].to_parquet(tmp_path / "first" / "files.parquet")
    with pytest.raises(StscqError, match=r"first/files\.parquet: files of other images than .*second_original"):
        second_judge.main(*given, tmp_path / "first", onnx, tmp_path / "third")


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return make_summary(tmp_path_factory.mktemp("without"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    return make_summary(tmp_path_factory.mktemp("taught"), taught=True)


SHOWS_IT = {"variants", "identity_teacher", "training_cost"}


@pytest.mark.parametrize("name", sorted(set(MAKERS) - SHOWS_IT))
def test_no_table_and_no_claim_changes_by_what_the_judge_taught(without, taught, name):
    pd.testing.assert_frame_equal(MAKERS[name](without).frame, MAKERS[name](taught).frame)


@pytest.mark.parametrize("name", ["rate_accuracy", "seed_spread", "utilisation_tokens", "training_curves"])
def test_no_figure_changes_by_it(without, taught, name):
    def drawn(summary):
        return [
            [*map(np.asarray, line.get_data())] for panel in FIGURES[name](summary).axes for line in panel.get_lines()
        ]

    a, b = drawn(without), drawn(taught)
    assert len(a) == len(b) > 0
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def test_metrics_leave_it_out(without, taught):
    assert metrics(without) == metrics(taught)


def test_it_is_marked_in_the_table_of_all_variants(without, taught):
    table = MAKERS["variants"](taught)
    marked = table.frame[table.frame.variant == "taught †"]
    assert list(marked.ids) == pytest.approx([0.65 + 0.3 + 0.002])
    assert marked.mean_acc_vs_global.isna().all()
    others = table.frame[table.frame.variant != "taught †"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, MAKERS["variants"](without).frame)
    assert any(note.startswith("† taught by the judge") for note in table.notes)
    assert not any("†" in note for note in MAKERS["variants"](without).notes)


def test_both_judges_stand_side_by_side(taught):
    table = MAKERS["identity_teacher"](taught)
    assert list(table.frame.variant) == ["original", "mean_face", "token_specific", "taught †"]
    rows = table.frame.set_index("variant")
    assert rows.loc["original", "recogniser_mean_acc"] == 99.0
    mine = rows.loc["taught †"]
    assert mine.ids_vs_twin == pytest.approx(0.2)
    assert mine.recogniser_ids_vs_twin == pytest.approx(0.1)
    assert mine.recogniser_ids_vs_twin_low == pytest.approx(0.1)
    assert np.isnan(rows.loc["token_specific", "ids_vs_twin"])
    assert mine.ids == pytest.approx(0.952)
    assert mine.recogniser_ids == pytest.approx(0.752)
    assert any("66 pairs, 6 people" in note for note in table.notes)


def test_without_such_a_codec_the_table_says_what_the_recogniser_verifies(without):
    table = MAKERS["identity_teacher"](without)
    assert list(table.frame.variant) == ["original", "mean_face"]
    assert list(table.frame.recogniser_mean_acc[:1]) == [99.0]


def test_its_training_is_a_row_of_its_own(without, taught):
    stages = [MAKERS["training_cost"](s).frame.set_index(["what", "stage"]) for s in (without, taught)]
    row = stages[1].loc[("training", "stage3, taught by the judge")]
    assert row.models == 3
    method = "method on top of the tokenizer"
    for name in ("seconds", "models", "hours"):
        values = [rows.loc[method][name].to_numpy(float) for rows in stages]
        np.testing.assert_array_equal(*values)


TAUGHT = {"shared": False, "M": 1, "K": 16, "training": "nn", "published": None, "stage3": {"taught_by": "judge"}}


def with_taught(**change):
    return merge(PARAMS, {"backbones": {"ibq": {"variants": {"token_specific_dlib": {**TAUGHT, **change}}}}})


def test_a_variant_may_be_taught_by_the_judge():
    params = with_taught()
    check(params)
    variants = params["backbones"]["ibq"]["variants"]
    assert [name for name, v in variants.items() if outside_claims(v)] == ["token_specific_dlib"]
    assert twin(variants, "token_specific_dlib") == "token_specific"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_taught(published=[1, 8192]), r"token_specific_dlib\.published: must be null with taught_by"),
        (with_taught(K=8), r"token_specific_dlib\.stage3\.taught_by: name a variant of the same"),
        (with_taught(stage2={"lr": 0.1}), r"token_specific_dlib\.stage2: must not be there"),
        (merge(PARAMS, {"stage3": {"taught_by": "judge"}}), r"stage3\.taught_by: of single variants only"),
        (
            merge(PARAMS, {"backbones": {"ibq": {"stage3": {"taught_by": "judge"}}}}),
            r"backbones\.ibq\.stage3\.taught_by: of single variants only",
        ),
    ],
)
def test_where_it_would_mean_something_else_it_is_refused(change, words):
    with pytest.raises(ParamsError, match=words) as problem:
        check(change)
    assert "\n" not in str(problem.value)


@pytest.mark.slow
def test_the_workflow_teaches_it_from_its_twins_codebooks(tmp_path):
    code, output = dry_run(tmp_path, with_taught(), "--printshellcmds", "--config", "seeds=[1]")
    assert code == 0, output
    trained = [v for b in PARAMS["backbones"].values() for v in b["variants"].values() if "effort" not in v]
    counts, plain = job_counts(output), len(trained)
    assert counts["stage2"] == plain
    assert counts["stage3"] == plain + 1
    assert counts["second_judge"] == 2 + 3  # and unequal codebooks, these with effort, and their twin
    assert counts["second_judge_original"] == 1
    commands = [
        line for line in output.splitlines() if "stage3/token_specific_dlib" in line and "training.stage3" in line
    ]
    assert len(commands) == 1
    assert "--recogniser dlib " in commands[0]
    assert "--taught-by dlib" in commands[0]
    assert "--start models/demo/ibq/stage2/token_specific/seed1 " in commands[0]
    assert not any("int8/ibq/token_specific_dlib" in line for line in output.splitlines())


@pytest.mark.slow
def test_another_teacher_than_the_judge_is_refused(tmp_path):
    code, output = dry_run(tmp_path, with_taught(stage3={"taught_by": "somebody"}))
    assert code != 0
    assert "'judge' was expected" in output
    assert "Job stats" not in output
