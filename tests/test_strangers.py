"""Faces without identities: false matches and IDS by groups of people, codebook groups, and a set that is not here."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from stscq.codec.api import Codec
from stscq.data.store import Face, Row, open_store, write_store
from stscq.errors import ParamsError
from stscq.evaluation import evaluate, original
from stscq.evaluation.statistics import independence
from stscq.evaluation.strangers import (
    Estimate,
    cells_of,
    mean_ids,
    rates,
    read_strangers,
    threshold_at,
    without_copies,
)
from stscq.evaluation.strangers import main as measure_strangers
from stscq.params import absent, merge, sets_in_use
from stscq.params import tested_on as sets_of
from stscq.params_check import check
from stscq.report import claims, table
from stscq.report.collect import Evaluations
from stscq.report.figures import draw
from stscq.report.strangers import groups_of, served, spread_of, strangers
from stscq.report.summarise import published
from stscq.report.summary import read_summary
from stscq.report.tables import TABLES
from tests.codec.conftest import make_bundle
from tests.conftest import ROOT
from tests.report_fixtures import SEEDS, STRANGERS, TOKENIZERS, VARIANTS, make_summary
from tests.test_face_sets import portrait
from tests.test_workflow import PARAMS, dry_run, job_counts

UTKFACE = {"kind": "utkface", "source": "elsewhere/utkface", "most_corrupt": 9, "optional": True}
LABELS = pd.Series(["White man"] * 3 + ["Other man"] + ["White woman"] * 3 + ["Black woman"])


def alike(*scores):
    """Three pictures whose pairs (0, 1), (0, 2), (1, 2) are as alike as SCORES."""
    found = np.eye(3)
    found[[0, 0, 1], [1, 2, 2]] = found[[1, 2, 2], [0, 0, 1]] = scores
    return found


def test_cells_are_of_one_ethnic_group_and_gender():
    cells = cells_of(LABELS)
    assert {name: rows.tolist() for name, rows in cells.items()} == {"White woman": [4, 5, 6], "White man": [0, 1, 2]}
    assert groups_of(cells, "ethnicity") == {"White": [0, 1]}
    assert groups_of(cells, "gender") == {"women": [0], "men": [1]}


def test_the_threshold_lets_a_share_of_the_pairs_through():
    cells = [alike(0.9, 0.5, 0.3), alike(0.8, 0.4, 0.2)]
    assert threshold_at(cells, 1 / 6) == 0.8  # one of six is above
    assert threshold_at(cells, 2 / 6) == 0.5
    assert threshold_at(cells, 0.1) == 0.9
    # A cell of ten times as many pairs weighs as much: 0.9 alone is a sixth of all.
    many = np.full((9, 9), 0.1)
    assert threshold_at([alike(0.9, 0.5, 0.3), many], 1 / 6) == 0.5


def test_false_matches_of_resampled_pictures_worked_by_hand():
    drawn = [np.array([[1, 1, 1], [2, 1, 0], [3, 0, 0]], np.float32)] * 2
    found = rates([alike(0.9, 0.5, 0.3), alike(0.2, 0.2, 0.7)], 0.6, drawn)
    assert found.values == pytest.approx([100 / 3, 100 / 3])
    # Pictures 0, 0, 1: pairs (0, 1) twice, and a picture makes none with itself. Picture 0 alone makes none at all.
    assert found.draws.tolist() == [pytest.approx([100 / 3, 100 / 3]), [100, 0], [0, 0]]


def test_near_copies_of_one_picture_are_no_match_before_and_after():
    before, after = [alike(0.99, 0.5, 0.97)], [alike(0.9, 0.8, 0.1)]
    assert without_copies(before, before)[0][0].tolist() == [-1, -1, 0.5]
    assert without_copies(after, before)[0][0].tolist() == [-1, -1, 0.8]
    assert threshold_at(without_copies(before, before), 0.1) == 0.97


def test_ids_of_resampled_pictures_worked_by_hand():
    drawn = [np.array([[2, 1, 0]], np.float32)]
    found = mean_ids(np.array([0.9, 0.6, 0.3]), {"White man": np.arange(3)}, drawn)
    assert found.values == pytest.approx([0.6])
    assert found.draws[0] == pytest.approx([0.8])


def test_spreads():
    cells = {"White man": np.arange(5), "Black man": np.arange(5)}  # ten pairs each
    found = Estimate(np.array([0.2, 0.8]), np.array([[0.2, 0.2], [0.0, 0.8]]))
    assert spread_of(found, "ids", cells).values == pytest.approx(0.6)
    shares = Estimate(100 * found.values, 100 * found.draws)
    assert spread_of(shares, "fmr", cells).values == pytest.approx(2)
    assert spread_of(shares, "fmr", cells).draws == pytest.approx(
        [0, 4]
    )  # half a pair of ten: 5 %, a sixteenth of 80 %


def test_independence_of_counts_worked_by_hand():
    # Every expected count is 15: 4 x 25 / 15; V = sqrt(6.67 / 60).
    found = independence(np.array([[10, 20], [20, 10]]))
    assert (found.chi2, found.dof, found.by) == (pytest.approx(20 / 3), 1, "chi-square")
    assert found.p == pytest.approx(0.00982, abs=1e-5)
    assert found.cramers_v == pytest.approx(1 / 3)
    assert found.by_chance < 0.2
    # Expected counts of 2: four against four is one of 70 tables, twice; an empty column changes nothing.
    small = independence(np.array([[4, 0, 0], [0, 0, 4]]), draws=9999)
    assert (small.by, small.cramers_v, small.dof) == ("permutation", pytest.approx(1), 1)
    assert small.p == pytest.approx(2 / 70, abs=0.006)
    assert np.isnan(independence(np.array([[3, 0], [4, 0]])).p)


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return make_summary(tmp_path_factory.mktemp("run"), strangers=True)


def without_strangers(summary, folder, absent):
    """The same run on a machine that has no such set."""
    shutil.copytree(summary.folder, folder)
    about = {**summary.about, "absent": absent, "sets": {**summary.about["sets"], "strangers": []}}
    (folder / "about.json").write_text(json.dumps(about))
    nobody = published(Evaluations(folder, SEEDS, [], VARIANTS, TOKENIZERS))
    strangers(nobody, folder).to_csv(folder / "strangers.csv", index=False)
    served(nobody, folder).to_csv(folder / "served.csv", index=False)
    return read_summary(folder)


def test_groups_of_people_before_and_after(summary):
    frame = TABLES["strangers"](summary).frame
    fmr = frame[frame.measure == "fmr"].set_index("method")
    assert fmr.index.tolist() == ["original", "global", "token_specific", "switchable"]
    # Black women are the most alike. Of 80 pairs 0.1 % is none: the most alike pair of all is the limit.
    assert (fmr.loc["original", ["White", "Black", "Asian", "Indian"]] == 0).all()
    after = fmr.loc["token_specific"]
    assert after.Black_low <= after.Black <= after.Black_high
    assert after.ethnicity_spread_low <= after.ethnicity_spread <= after.ethnicity_spread_high
    assert pd.isna(fmr.loc["original", "ethnicity_spread_vs_original"])
    assert after.ethnicity_spread_vs_original == pytest.approx(after.ethnicity_spread)
    reset = frame[frame.measure == "fmr_reset"].set_index("method")
    assert (reset[["women", "men"]] == 0).to_numpy().all()


def test_ids_of_groups_and_what_codebook_groups_change(summary):
    frame = TABLES["strangers"](summary).frame
    ids = frame[frame.measure == "ids"].set_index("method")
    assert "original" not in ids.index
    # White men gain 0.1 by token-specific and 0.05 by switchable codebooks; women lose 0.1 by any.
    assert ids.loc["token_specific", ["White", "Black"]].tolist() == pytest.approx([0.8, 0.75])
    assert ids.loc["token_specific", "ethnicity_spread"] == pytest.approx(0.05)
    assert ids.loc["switchable", "ethnicity_spread_vs_one_group"] == pytest.approx(-0.025)
    assert ids.loc["switchable", "gender_spread"] == pytest.approx(0.1 + 0.05 / 4)
    assert pd.isna(ids.loc["token_specific", "ethnicity_spread_vs_one_group"])


def test_codebook_groups_that_serve_one_ethnic_group_each(summary):
    frame = TABLES["served"](summary).frame.set_index(["people", "seed"])
    assert len(frame) == 2 * len(SEEDS)
    ethnic = frame.loc[("ethnicity", 1)]
    assert (ethnic.pictures, ethnic.in_use, ethnic.dof) == (40, 4, 9)
    assert ethnic.cramers_v == pytest.approx(1)
    assert ethnic.p_value == 0.001  # none of 999 permutations
    assert ethnic.most_own == "White: group 0, 100 % (all: 25 %)"
    assert frame.loc[("gender", 1), "cramers_v"] == pytest.approx(0)
    counts = TABLES["served_counts"](summary).frame
    assert counts[counts.seed == 2].Black.tolist() == [0, 10, 0, 0]
    assert counts.women.sum() == counts.men.sum() == 20 * len(SEEDS)


def test_the_heat_map_shows_shares_of_each_group_of_people(summary):
    figure = draw(summary, "served")
    (panel, _) = figure.axes
    shares = panel.collections[0].get_array().reshape(6, 4)
    assert shares.tolist() == [[100, 0, 0, 0], [0, 100, 0, 0], [0, 0, 100, 0], [0, 0, 0, 100], [25] * 4, [25] * 4]
    assert [label.get_text() for label in panel.get_yticklabels()][-2:] == ["women", "men"]
    assert "Cramér's V: 1.00 by ethnicity (chance: 0.2" in panel.get_title()


def test_the_claim_about_ethnic_groups_is_decided_by_strangers(summary):
    parts = claims.groups_stay_alike(summary)
    assert [part.statistic.split(":")[0] for part in parts] == ["ids", "fmr_reset"]
    ids = parts[0]
    assert ids.value == pytest.approx(-0.025)
    # From 0.05 to 0.025: more than a third.
    assert (ids.verdict, ids.low <= ids.value <= ids.high) == ("refuted", True)
    assert "0.0167" in ids.why
    assert "0.415" in parts[1].why


def test_a_set_that_is_not_here_leaves_empty_cells_and_the_reason(summary, tmp_path):
    without = without_strangers(summary, tmp_path / "summary", {"utkface": "elsewhere/utkface"})
    reason = "utkface is not here: nothing at sets.utkface.source = elsewhere/utkface; docs/lfw.md says what it is."
    for name in ("strangers", "served", "served_counts"):
        table.main(without.folder, name, tmp_path / name)
        assert f"- {reason}\n" in (tmp_path / f"{name}.md").read_text()
    empty = TABLES["strangers"](without).frame
    there = TABLES["strangers"](summary).frame
    assert empty[["method", "measure"]].equals(there[["method", "measure"]])
    assert empty[["White", "women", "ethnicity_spread"]].isna().to_numpy().all()
    assert draw(without, "served").texts[0].get_text() == reason
    ((part), *others) = claims.strangers_stay_alike(without)
    assert (part.verdict, part.why, others) == ("not testable here", reason, [])
    for name in ("fairness", "group_use", "variants"):
        pd.testing.assert_frame_equal(TABLES[name](without).frame, TABLES[name](summary).frame)


def test_a_profile_without_such_a_set_has_the_tables_without_rows(summary, tmp_path):
    bare = without_strangers(summary, tmp_path / "summary", {})
    assert TABLES["strangers"](bare).frame.empty
    assert claims.strangers_stay_alike(bare) == []
    table.main(bare.folder, "served", tmp_path / "served")
    assert "No run of this profile belongs in this table." in (tmp_path / "served.md").read_text()


@pytest.fixture(scope="module")
def evaluated(faces, split, tmp_path_factory):
    """An untrained codec on 48 faces of the Database of Faces under made-up labels, without identities."""
    folder = tmp_path_factory.mktemp("strangers")
    images, _ = open_store(faces)
    rows = [Row(f"{i}", f"{i}", "made up", STRANGERS[i % 8]) for i in range(48)]
    write_store((Face(row, images[8 * i]) for i, row in enumerate(rows)), folder / "store")
    pd.DataFrame({"a": [], "b": [], "same": [], "fold": []}).astype(int).to_parquet(folder / "pairs.parquet")
    before, after = folder / "original", folder / "after"
    pairs = folder / "pairs.parquet"
    original.main(folder / "store", pairs, faces, split / "index.parquet", before, "dlib", own=False)
    bundle = make_bundle(folder / "bundle", np.array(images), "titok", False, 4, 8, True)
    evaluate.main(folder / "store", bundle, after, "dlib", "{}", before)
    return before, after


def test_with_effort_an_evaluation_is_of_other_files_and_leaves_nothing_else(evaluated, tmp_path):
    before, after = evaluated
    searched = tmp_path / "searched"
    evaluate.main(before.parent / "store", before.parent / "bundle", searched, "dlib", "{}", before, effort=1)
    assert [path.name for path in tmp_path.iterdir()] == ["searched"]
    nearest, found = (pd.read_parquet(folder / "files.parquet") for folder in (after, searched))
    assert found[["row", "selection"]].equals(nearest[["row", "selection"]])
    assert (found.file != nearest.file).mean() > 0.2
    codec, images = Codec.load(before.parent / "bundle").with_effort(1), open_store(before.parent / "store")[0]
    assert found.file[found.selection == "router"].tolist()[:5] == codec.encode(images[:5], "router")


def test_faces_without_identities_are_all_evaluated_and_keep_their_embeddings(evaluated):
    before, after = evaluated
    assert np.load(before / "embeddings.npy").shape == (48, 128)
    metrics = json.loads((before / "metrics.json").read_text())
    assert (metrics["images"], metrics["protocols"], "mean_acc" in metrics) == (48, {}, False)
    images = pd.read_parquet(after / "images.parquet")
    assert images.groupby("selection").size().to_dict() == {"nn": 48, "router": 48}
    assert images.label.tolist() == STRANGERS * 12
    nn = images[images.selection == "nn"]
    found = np.stack(nn.embedding.to_list())
    assert np.einsum("ne,ne->n", found, np.load(before / "embeddings.npy")) == pytest.approx(
        nn.ids.to_numpy(), abs=1e-5
    )
    assert len(pd.read_parquet(after / "pairs.parquet")) == len(pd.read_parquet(after / "group_pairs.parquet")) == 0
    measured = json.loads((after / "metrics.json").read_text())["selections"]["router"]
    assert (measured["protocols"], "mean_acc" in measured, "ids" in measured) == ({}, False, True)


def test_what_is_measured_of_strangers_holds_no_picture(evaluated, tmp_path):
    before, after = evaluated
    measure_strangers(after, before, tmp_path)
    found = {selection: read_strangers(tmp_path / "strangers.npz", selection) for selection in ("nn", "router")}
    images = pd.read_parquet(after / "images.parquet")
    for selection, one in found.items():
        part = images[images.selection == selection].reset_index(drop=True)
        assert one.cells.keys() == cells_of(part.label).keys()
        for cell, (name, rows) in enumerate(one.cells.items()):
            assert (part.label[rows] == name).all()
            assert one.measured["ids"].values[cell] == pytest.approx(part.ids[rows].mean())
            assert one.served[cell].tolist() == [
                (part.group[rows] == group).sum() for group in range(one.served.shape[1])
            ]
    assert found["nn"].measured["before"].values.tolist() == found["router"].measured["before"].values.tolist()
    with np.load(tmp_path / "strangers.npz") as arrays:
        assert max(array.size for array in arrays.values()) == 1000 * len(found["nn"].cells)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluate_on": ["x"]}, "evaluate_on: 'x' is no set with verification pairs"),
        ({"sets": {"x": {"kind": "pack"}}, "evaluate_on": ["x"]}, r"sets\.x\.optional: more than fairness_on needs it"),
        ({"sets": {"y": UTKFACE}, "fairness_on": ["x", "y"]}, "fairness_on: x, y are all of kind utkface; name one"),
    ],
)
def test_where_an_optional_set_may_not_stand(change, words):
    params = merge(PARAMS, {"sets": {"x": UTKFACE}, "fairness_on": ["x"]})
    check(params)
    with pytest.raises(ParamsError, match=words):
        check(merge(params, change))


def test_groups_of_people_are_measured_on_variants_of_published_rows(tmp_path):
    params = merge(PARAMS, {"sets": {"x": UTKFACE}, "fairness_on": ["test", "x"]})
    assert sets_of(params, "titok_s", "global") == ["test", "x"]
    assert sets_of(params, "titok_s", "groups_2x64") == sets_of(params, "titok_s", "fine_tuned") == ["test"]
    assert sets_in_use(params) == ["x"]
    assert absent(params, tmp_path) == {"x": "elsewhere/utkface"}
    (tmp_path / "unpacked" / "evaluation" / "original" / "x").mkdir(parents=True)  # numbers without the pictures
    assert absent(params, tmp_path / "unpacked") == {}
    store = tmp_path / "sets" / "x"
    store.mkdir(parents=True)
    (store / "images.npy").touch()
    assert absent(params, tmp_path) == {"x": "elsewhere/utkface"}
    (store / "index.parquet").touch()
    assert absent(params, tmp_path) == {}


GONE = ["token_specific", "switchable_4x16", "unequal_4_bits", "unequal_4_bits_effort"]
ONE_VARIANT = {
    "seeds": [1],
    "peers": [],
    "measure_cost": [],
    "sets": {"x": UTKFACE},
    "fairness_on": ["x"],
    "backbones": {
        **dict.fromkeys(["titok_s", "titok_l", "ibq"]),
        "maskgit_vqgan": {"variants": dict.fromkeys(GONE)},
    },
}


@pytest.mark.slow
def test_the_workflow_runs_without_an_optional_set_and_uses_what_was_made_of_it(tmp_path):
    (tmp_path / "without").mkdir()
    code, output = dry_run(tmp_path / "without", merge(PARAMS, ONE_VARIANT), "--printshellcmds")
    assert code == 0, output
    counts = job_counts(output)
    assert "prepare_set" not in counts
    assert (counts["evaluate_original"], counts["evaluate"]) == (1, 3)
    assert '"strangers": []' in output
    assert """--absent '{"x": "elsewhere/utkface"}'""" in output
    here = tmp_path / "with"
    (here / "elsewhere" / "utkface").mkdir(parents=True)
    code, output = dry_run(here, merge(PARAMS, ONE_VARIANT), "--printshellcmds")
    assert code == 0, output
    counts = job_counts(output)
    assert (counts["prepare_set"], counts["evaluate_original"], counts["evaluate"]) == (1, 2, 4)
    assert counts["measure_strangers"] == 1
    assert '"strangers": ["x"]' in output
    assert "--absent '{}'" in output
    assert "optional" not in next(line for line in output.splitlines() if "--kind utkface" in line)


def snakemake(folder, *targets):
    """Exit code and output of a run that makes TARGETS."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *targets],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_what_was_made_of_an_optional_set_elsewhere_is_used_and_never_lost(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    for name in ("Snakefile", "workflow", "config", "profiles", "stscq"):
        (project / name).symlink_to(ROOT / name)
    (project / "params.yaml").write_text(yaml.safe_dump(merge(PARAMS, ONE_VARIANT)))
    source, store = project / "elsewhere" / "utkface", project / "data" / "demo" / "sets" / "x"
    source.mkdir(parents=True)
    for name, person in (("25_0_0_20170117", "s1"), ("61_1_3_20170104", "s2")):
        portrait(person, 1, 200, 130).save(source / f"{name}.jpg.chip.jpg", quality=95)
    index, cost = "data/demo/sets/x/index.parquet", "data/demo/cost/cost.csv"
    code, output = snakemake(project, index)
    assert code == 0, output
    made = (store / "images.npy").read_bytes()
    source.rename(tmp_path / "taken_away")
    code, output = snakemake(project, cost, index)  # other jobs run, and this one is current
    assert code == 0, output
    assert "prepare_set" not in output
    assert (store / "images.npy").read_bytes() == made
    (store / "images.npy").write_bytes(made + b"edited")
    code, output = snakemake(project, index)
    assert code != 0
    assert "missing data sets" in output
    assert "sets.x.source: elsewhere/utkface" in output
    assert (store / "images.npy").read_bytes() == made + b"edited"
