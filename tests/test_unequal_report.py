"""Codebooks of unequal size, and effort: outside all claims, in tables and a figure of their own."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from stscq.data.sensitivity import Sensitivity, write_sensitivity
from stscq.errors import ParamsError
from stscq.params import bundled, merge, outside_claims, twin
from stscq.params_check import check
from stscq.report.figures import FIGURES
from stscq.report.metrics import metrics
from stscq.report.table import MAKERS
from stscq.report.training_records import allocations
from tests.conftest import ROOT
from tests.report_fixtures import UNEQUAL, make_summary

PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())
SHOWS_IT = {"allocation", "effort", "training_cost"}


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return make_summary(tmp_path_factory.mktemp("without"))


@pytest.fixture(scope="module")
def unequal(tmp_path_factory):
    return make_summary(tmp_path_factory.mktemp("unequal"), unequal=True, effort=True)


@pytest.mark.parametrize("name", sorted(set(MAKERS) - SHOWS_IT))
def test_no_other_table_and_no_claim_changes_by_it(without, unequal, name):
    pd.testing.assert_frame_equal(MAKERS[name](without).frame, MAKERS[name](unequal).frame)


def test_metrics_leave_it_out(without, unequal):
    assert metrics(without) == metrics(unequal)


def test_it_stands_beside_its_twin(unequal):
    frame = MAKERS["allocation"](unequal).frame
    assert list(frame.variant) == ["token_specific", "unequal"]
    assert list(frame.twin) == ["", "token_specific"]
    rows = frame.set_index("variant")
    assert np.isnan(rows.loc["token_specific", "power"])
    assert np.isnan(rows.loc["token_specific", "ids_vs_twin"])
    mine = rows.loc["unequal"]
    assert mine.power == 1.5
    assert mine.ids_vs_twin == pytest.approx(0.1)
    assert mine.ids_vs_twin_low == pytest.approx(0.1)
    assert mine.recogniser_ids - rows.loc["token_specific", "recogniser_ids"] == pytest.approx(0.1)
    assert mine.bits == rows.loc["token_specific", "bits"]


def test_effort_stands_beside_the_same_codec_without(unequal):
    frame = MAKERS["effort"](unequal).frame
    assert list(frame.variant) == ["token_specific", "searched"]
    assert list(frame.effort) == [0, 5]
    assert frame.ids_vs_twin[1] == pytest.approx(0.15)
    assert frame.recogniser_ids[1] - frame.recogniser_ids[0] == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["allocation", "effort"])
def test_what_a_classic_codec_needs_for_the_same_stands_there_too(unequal, name):
    """The twin's as in peers_ratio: 17 bytes a file, where WebP in grey needs 200."""
    table = MAKERS[name](unequal)
    twin, mine = table.frame.ours_over_classic
    assert twin == pytest.approx(17 / 200)
    assert mine == pytest.approx(table.frame.file_bytes[1] / table.frame.best_classic_bytes[1])
    assert table.frame.best_classic_bytes[1] >= 200
    assert list(table.frame.at_most_a_fifth) == ["yes", "yes"]
    assert any(note.startswith("best_classic_bytes: ") for note in table.notes)


def test_without_classic_codecs_nothing_is_said_of_them(tmp_path):
    summary = make_summary(tmp_path, unequal=True)
    (summary.folder / "peers.csv").write_text("\n", encoding="utf-8")
    table = MAKERS["allocation"](summary)
    assert "best_classic" not in table.frame
    assert not any(note.startswith("best_classic_bytes") for note in table.notes)


def test_without_such_a_variant_the_table_and_the_figure_say_so(without):
    for name in ("allocation", "effort"):
        table = MAKERS[name](without)
        assert list(table.frame.variant) == ["none"]
        assert table.notes == [f"No variant of this profile has `{name}`; those of lfw do."]
    figure = FIGURES["allocation"](without)
    assert figure.findobj(lambda part: getattr(part, "get_text", str)().startswith("no codebooks of unequal size"))


def test_the_figure_has_the_bits_of_the_most_sensitive_token_first(unequal):
    (panel,) = FIGURES["allocation"](unequal).axes
    assert [bar.get_height() for bar in panel.patches] == [4, 3, 3, 2]  # w 2.25, 1, 0.5, 0.25
    assert panel.get_title() == "titok_s\nunequal: 12 bits"


def test_the_summary_tells_what_was_allocated(tmp_path):
    folder = tmp_path / "titok_s" / "sensitivity" / "seed2"
    folder.mkdir(parents=True)
    write_sensitivity(Sensitivity([0.5, 1.5], {1: [8.0, 8.0], 2: [4.0, 4.0], 4: [2.0, 2.0]}), folder)
    variants = {
        "unequal": {**UNEQUAL, "K": 2}, "three": {**UNEQUAL, "K": 2, "allocation": {"power": 1.5, "bits": 3}},
        "four": {**UNEQUAL, "K": 2, "M": 2, "allocation": {"power": 1.5, "bits": 2}},
        "searched": {**UNEQUAL, "K": 2, "effort": 5},
    }  # fmt: skip
    found = pd.DataFrame(allocations(SimpleNamespace(variants={"titok_s": variants}, seeds=[2]), tmp_path))
    entries = {name: tokens.entries.tolist() for name, tokens in found.groupby("variant")}
    assert entries == {"unequal": [1, 4], "three": [2, 4], "four": [2, 2]}
    assert found.sensitivity.tolist() == [0.5, 1.5] * 3


def with_unequal(**change):
    variant = {**UNEQUAL, "K": 16, **change}
    return merge(PARAMS, {"backbones": {"ibq": {"variants": {"unequal": variant}}}})


def test_a_variant_may_have_an_allocation():
    params = with_unequal()
    check(params)
    variants = params["backbones"]["ibq"]["variants"]
    assert [name for name, v in variants.items() if outside_claims(v)] == ["unequal"]
    assert twin(variants, "unequal") == "token_specific"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_unequal(published=[1, 8192]), r"unequal\.published: must be null with allocation"),
        (with_unequal(K=8), r"unequal\.allocation: name a variant of the same M, K and training without it"),
        (with_unequal(M=4, training="nn"), r"unequal\.allocation: name a variant of the same M, K and training"),
        (with_unequal(shared=True), r"unequal\.allocation: of variants with shared: false"),
        (with_unequal(stage3={"taught_by": "judge"}), r"unequal\.allocation: of variants .* no taught_by"),
        (merge(with_unequal(), {"latents": {"copies": 0}}), r"allocation: needs the latents of faces"),
    ],
)
def test_where_it_cannot_be_it_is_refused(change, words):
    with pytest.raises(ParamsError, match=words) as problem:
        check(change)
    assert "\n" not in str(problem.value)


def with_effort(**change):
    variant = {"shared": False, "M": 1, "K": 16, "training": "nn", "published": None, "effort": 5, **change}
    return merge(PARAMS, {"backbones": {"ibq": {"variants": {"searched": variant}}}})


def test_a_variant_may_have_effort_and_the_bundle_of_its_twin():
    params = with_effort()
    check(params)
    variants = params["backbones"]["ibq"]["variants"]
    assert twin(variants, "searched") == bundled(variants, "searched") == "token_specific"
    assert bundled(variants, "global") == "global"
    assert bundled(variants, "fine_tuned") == "fine_tuned"
    unequal = {**UNEQUAL, "K": 16}
    both = {**variants, "unequal": unequal, "unequal_searched": {**unequal, "effort": 3}}
    assert twin(both, "unequal_searched") == bundled(both, "unequal_searched") == "unequal"
    assert twin(both, "unequal") == "token_specific"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_effort(published=[1, 8192]), r"searched\.published: must be null with effort"),
        (with_effort(K=8), r"searched\.effort: name a variant that is the same without it"),
    ],
)
def test_where_effort_cannot_be_it_is_refused(change, words):
    with pytest.raises(ParamsError, match=words):
        check(change)
