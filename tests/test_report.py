"""Tables, claims and figures: readers see what the numbers say; published values stand beside their own rows."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from stscq.data.store import open_store
from stscq.errors import DataError, ParamsError
from stscq.evaluation.published import blocks, published_row, published_rows
from stscq.params import with_profile
from stscq.report import claims, figure, sheets, table
from stscq.report.collect import Evaluations, Run
from stscq.report.fairness import common_threshold, fairness, group_accuracies, rates
from stscq.report.figures import FIGURES
from stscq.report.metrics import metrics
from stscq.report.readme import filled
from stscq.report.render import Table, cells, to_latex, to_markdown, whole_numbers
from stscq.report.summary import read_summary
from stscq.report.table import MAKERS
from stscq.report.tables import TABLES
from stscq.report.tables.cells import as_printed
from stscq.report.verdicts import above, at_most, over_seeds, within
from tests.conftest import ROOT
from tests.report_fixtures import SEEDS, TOKENIZERS, VARIANTS, make_summary


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return make_summary(tmp_path_factory.mktemp("run"))


def rows_by(summary, name, *columns):
    return TABLES[name](summary).frame.set_index(list(columns))


def test_every_published_block_has_a_table():
    assert set(blocks()) <= set(MAKERS)
    committed = {path.stem for path in (ROOT / "results/lfw/tables").glob("*.csv")}
    assert set(MAKERS) <= committed


def test_published_numbers_are_those_of_the_paper():
    """Copied whole: the same blocks, rows and errata as where they were collected, if that is at hand."""
    collected = ROOT.parent / "shared" / "paper" / "tables.yaml"
    if not collected.is_file():
        pytest.skip("the collection of the paper's numbers is not beside this checkout")
    assert yaml.safe_load(collected.read_text()) == blocks()


def test_main_table(summary):
    frame = rows_by(summary, "main", "method")
    assert frame.loc["original", "mean_acc"] == 99.0
    assert frame.loc["mean_face", "ids"] == 0.5
    assert frame.loc["global", "ids"] == pytest.approx(0.652)  # 0.65 + seed / 1000
    assert frame.loc["global", "ids_std"] == pytest.approx(0.001)
    assert frame.loc["token_specific", "ids_vs_global"] == pytest.approx(0.1)
    assert frame.loc["token_specific", "ids_vs_global_p"] < 0.01
    assert frame.loc["token_specific", "ids_centred_vs_global"] == pytest.approx(0.2)
    assert frame.loc["token_specific", "published_mean_acc"] == 91.66
    assert frame.loc["global", "published_ids"] == 0.5764
    assert frame.loc["codeformer", ["published_bpp", "published_mean_acc"]].tolist() == [0.039, 89.99]
    assert frame.loc["jpeg2000", "published_ids"].tolist() == [0.0312, 0.3551]
    assert pd.isna(frame.loc["fine_tuned", "published_ids"])
    assert "difference_ids" not in frame  # the demo is not the paper's experiment


def test_the_papers_own_profile_shows_differences(summary):
    frame = TABLES["main"](summary._replace(about={**summary.about, "profile": "paper"})).frame.set_index("method")
    assert frame.loc["token_specific", "difference_ids"] == pytest.approx(0.752 - 0.6120)


def test_published_values_stand_beside_their_own_rows(summary):
    seeds = rows_by(summary, "seeds", "groups", "entries", "training")
    assert seeds.loc[(1, 8, "nn"), "published_mean_acc"] == 91.65
    assert seeds.loc[(4, 4, "router"), "published_mean_acc"] == 87.63
    assert seeds.loc[(4, 4, "router"), "published_ids_std"] == 0.0002
    inference = rows_by(summary, "selection_at_inference", "groups", "selection")
    assert inference.loc[(4, "nn"), "published_ids"] == 0.5180
    assert inference.loc[(4, "router"), "published_ids"] == 0.5125
    assert inference.loc[(4, "router"), "ids_vs_nn"] == 0.0
    assert inference.loc[(4, "router"), "same_group_as_nn"] == 75.0
    tokens = rows_by(summary, "token_utilisation", "method")
    assert tokens.loc["token_specific", "published_std"] == 9.14


def test_utilisation_worked_by_hand(summary):
    row = rows_by(summary, "token_utilisation", "method").loc["token_specific"]
    shares = [90 * j / 6 for j in range(1, 7)]  # 15, 30, .., 90 %
    assert (row["min"], row["max"], row["mean"]) == pytest.approx((15, 90, 52.5))
    assert row["std"] == pytest.approx(np.std(shares))
    used = rows_by(summary, "dataset_utilisation", "groups", "training").loc[(4, "router")]
    assert used["test"] == pytest.approx(92)  # 90 + seed
    assert used["test_bound"] == pytest.approx(75)  # 12 images, 16 entries
    assert used["published_lfw"] == 93.15


def test_protocols_stand_in_for_the_benchmarks(summary):
    frame = rows_by(summary, "per_dataset_accuracy", "method")
    assert frame.loc["original", "hardest_impostors"] == 98.0
    row = frame.loc["token_specific"]
    assert row["mean"] == pytest.approx((row.random_impostors + row.hardest_impostors + row.largest_change) / 3)
    assert row.random_impostors > row.largest_change  # made that way
    assert row.published_lfw == 98.68
    assert any("no five benchmarks" in note for note in TABLES["per_dataset_accuracy"](summary).notes)


def test_sweep_of_groups(summary):
    frame = rows_by(summary, "groups_sweep", "groups")
    assert list(frame.index) == [1, 2, 4]
    assert frame.loc[2, "ids_vs_one_group"] == pytest.approx(0.2)
    assert pd.isna(frame.loc[1, "ids_vs_one_group"])


def test_groups_of_people_and_their_codebooks(summary):
    frame = rows_by(summary, "fairness", "method", "groups")
    row = frame.loc[("token_specific", 1)]
    assert row.eyeglasses_mean_acc == pytest.approx(100 - (row.eyeglasses_fmr + row.eyeglasses_fnmr) / 2)
    assert row.spread_low <= row.spread <= row.spread_high
    use = TABLES["group_use"](summary).frame
    mine = use[use.variant == "switchable"]
    assert mine.share_of_eyeglasses.sum() == pytest.approx(100)
    assert mine.share_of_no_eyeglasses.sum() == pytest.approx(100)
    # Images 0 to 5 wear eyeglasses and go to groups 0, 1, 2, 3, 0, 1.
    assert mine.set_index("codebook_group").share_of_eyeglasses[0] == pytest.approx(100 / 3)


def test_rates_at_one_threshold_worked_by_hand():
    pairs = pd.DataFrame(
        {
            "group": ["a"] * 4 + ["b"] * 4,
            "same": [True, True, False, False] * 2,
            "similarity": [0.9, 0.8, 0.1, 0.2, 0.9, 0.3, 0.1, 0.85],
            "first": list("ppppqqqq"), "second": list("ppppqqqq"),
        }
    )  # fmt: skip
    threshold = common_threshold(pairs)
    assert 0.2 < threshold < 0.3  # all but the impostor pair at 0.85
    judged = pairs.assign(correct=(pairs.similarity > threshold) == pairs.same)
    assert rates(judged[judged.group == "a"]) == {"mean_acc": 100, "fmr": 0, "fnmr": 0}
    assert rates(judged[judged.group == "b"]) == {"mean_acc": 75, "fmr": 50, "fnmr": 0}
    drawn = pd.DataFrame({"p": [1, 2, 0], "q": [1, 1, 1]})
    found = group_accuracies(judged, drawn)
    assert found[:2].tolist() == [[100, 75], [100, 75]]
    assert np.isnan(found[2, 0])
    assert found[2, 1] == 75


def test_bytes_are_those_that_were_written(summary):
    row = rows_by(summary, "rates", "method", "entries").loc[("token_specific", 8)]
    assert (row.fixed_bytes, row.coded_bytes, row.file_bytes) == (12, 9, 17)
    assert row.coding_saves_percent == pytest.approx(25)
    assert (row.tokens_that_change, row.images_that_change, row.encoded_twice_percent) == (1, 0, 25)


def test_classic_codecs_at_equal_accuracy(summary):
    frame = rows_by(summary, "peers_ratio", "backbone", "variant")
    row = frame.loc[("titok_s", "token_specific")]
    # Halfway between 100 bytes (10 points less) and 400 (10 more), in log bytes: 200; in colour twice as many.
    assert row.best_classic_bytes == pytest.approx(200)
    assert (row.best_classic, row["where"], row.at_most_a_fifth) == ("webp grey", "between", "yes")
    assert row.ours_over_classic == pytest.approx(17 / 200)
    assert not frame.index.get_level_values("variant").isin(["pretrained", "fine_tuned", "groups_1x4"]).any()
    classic = rows_by(summary, "peers", "codec")
    assert classic.loc["webp", "smallest_bytes"].tolist() == [40] * 6
    assert classic.file_bytes.tolist() == [100, 200, 800, 50, 100, 400]


def test_how_many_pairs_and_people_stand_beside_accuracy(summary):
    """Twelve images of six people, the same 66 pairs in each of three seeds."""
    text = "Tested on test: 66 pairs a seed; 66 different pairs of 6 people over 3 seed(s)."
    for name in ("headline", "main", "per_dataset_accuracy", "ibq", "variants", "peers", "peers_ratio"):
        assert text in TABLES[name](summary).notes
    assert text in claims.claims(summary).notes


def test_the_ceiling_at_full_size_stands_above_that_of_the_store(summary):
    frame = TABLES["headline"](summary).frame
    assert frame.method[:3].tolist() == ["original_full_size", "original", "mean_face"]
    assert frame.mean_acc[:2].tolist() == [99.5, 99.0]
    without = summary.values[summary.values.variant != "original_full_size"]
    frame = TABLES["headline"](summary._replace(values=without)).frame
    assert frame.method[0] == "original"


def test_costs(summary):
    row = TABLES["cost"](summary).frame.iloc[0]
    assert (row.storage_mib, row.seconds_per_image) == (482.5, 0.5)
    assert "a CPU, 1 thread(s), torch 2.13.0" in TABLES["cost"](summary).notes[0]
    spent = TABLES["training_cost"](summary).frame.set_index(["backbone", "stage"])
    assert spent.loc[("titok_s", "stage1_tokenizer"), "hours"] == pytest.approx(2 * 3 * 36 / 3600)
    # Two tokenizers, five sizes in stage 1, seven variants in stages 2 and 3.
    assert spent.loc[("all", "all"), "models"] == 3 * (2 + 5 + 2 * 7)


def test_a_group_of_one_person_leaves_the_table_without_numbers(summary, tmp_path):
    evaluation = summary.folder.parent / "evaluation"
    own = tmp_path / "evaluation"
    shutil.copytree(evaluation, own)
    for file in own.rglob("group_pairs.parquet"):
        pairs = pd.read_parquet(file)
        pairs[pairs.same | (pairs.group != "eyeglasses")].to_parquet(file)
    found = fairness(Evaluations(own, SEEDS, ["test"], VARIANTS, TOKENIZERS))
    assert found.empty
    (tmp_path / "summary").mkdir()
    shutil.copytree(summary.folder, tmp_path / "summary", dirs_exist_ok=True)
    found.to_csv(tmp_path / "summary" / "fairness.csv", index=False)
    table.main(tmp_path / "summary", "fairness", tmp_path / "fairness")
    assert "No run of this profile belongs in this table." in (tmp_path / "fairness.md").read_text()
    assert claims.groups_stay_alike(read_summary(tmp_path / "summary")) == []


def test_empty_cells_say_why(summary):
    imagenet = table.without_runs(TABLES["imagenet"](summary))
    assert imagenet.frame.published_fid.tolist() == [3.91, 2.27]
    assert imagenet.notes[0] == "No run of this profile belongs in this table."
    assert "the two columns are swapped" in imagenet.notes[1]
    quality = TABLES["image_quality"](summary)
    assert quality.frame.lpips.isna().all()
    assert "lpips: empty, because no weights." in quality.notes


def verdicts(summary):
    frame = claims.claims(summary).frame
    return frame[frame.claim != ""].set_index("number").verdict.to_dict(), frame


def test_claims(summary):
    overall, frame = verdicts(summary)
    assert overall[1] == "holds"  # token_specific has more IDS and more right pairs, on everybody
    assert overall[2] == "not testable here"  # it is about MaskGIT-VQGAN
    assert overall[3] == "holds"
    # Seeds are apart by far more than 0.14 points; two groups are better than one and than four.
    assert overall[6] == "refuted"
    assert overall[7] == "holds"
    assert overall[9] == "not testable here"  # eyeglasses are no ethnic groups
    parts = frame[frame.claim == ""]
    assert (parts[parts.number == 1].low > 0).all()
    # Token-specific groups are better than token-shared ones; one codebook of four entries was not trained.
    assert list(parts[parts.number == 8].verdict) == ["not testable here"] * 2 + ["holds"] * 2


@pytest.mark.parametrize(
    ("test", "references"),
    [
        (claims.token_specific_is_better, {"compute-matched global": "global"}),
        (claims.groups_help_then_hurt, {"less M = 1": "one_group", "less M = 4": "most_groups"}),
        (claims.token_shared_groups_help, {"less token-shared": "token_shared"}),
        (claims.router_is_as_good, {"less nn": "nn"}),
    ],
)
def test_each_part_has_the_numbers_of_its_measure(summary, test, references):
    """IDS and accuracy of every comparison are told apart here by their numbers."""
    numbers = summary.comparisons.copy()
    numbers["difference"] = 0.001 * np.arange(len(numbers))
    numbers["low"], numbers["high"] = numbers.difference - 1, numbers.difference + 1
    told = summary._replace(comparisons=numbers)
    parts = [part for part in test(told) if part.verdict != "not testable here"]
    expected = {(measure, name) for measure in claims.BOTH for name in references}
    if test is claims.router_is_as_good:
        expected = {("mean_acc", name) for name in references}  # it names points of accuracy
    found = set()
    for part in parts:
        measure = part.statistic.split(",")[0]
        name = next(name for name in references if name in part.statistic)
        theirs = numbers[(numbers.measure == measure) & (numbers.versus == references[name])].difference
        assert part.value in set(theirs)
        found.add((measure, name))
    assert found == expected


@pytest.mark.parametrize(("bits", "verdict"), [(80, "holds"), (96, "not testable here"), (98, "not testable here")])
def test_a_saving_of_bits_is_tested_where_there_is_one(summary, bits, verdict):
    """The claim is about MaskGIT-VQGAN, as which this titok passes here; its global codebook takes 96 bits."""
    renamed = [
        frame.replace({"backbone": {"titok_s": "maskgit_vqgan"}})
        for frame in (summary.runs, summary.values, summary.comparisons)
    ]
    runs = renamed[0].assign(bits=lambda f: f.bits.where(f.method != "switchable", bits))
    parts = claims.fewer_bits_and_still_better(summary._replace(runs=runs, values=renamed[1], comparisons=renamed[2]))
    assert parts
    assert {part.verdict for part in parts} == {verdict}


def test_a_claim_without_its_effect_is_open_or_refuted(summary):
    c = summary.comparisons
    open_ = c.assign(low=-c.high.abs(), difference=-c.difference.abs(), high=c.low.abs())
    overall, frame = verdicts(summary._replace(comparisons=open_))
    assert overall[1] == "undecided"
    assert frame[(frame.number == 1) & (frame.claim == "")].why.str.contains("contains 0").all()
    turned = c.assign(low=-c.high, difference=-c.difference, high=-c.low)
    overall, frame = verdicts(summary._replace(comparisons=turned))
    assert overall[1] == "refuted"
    assert frame.loc[frame.number == 1, "why"].iloc[0] == "0 of 2 parts hold, 2 refuted"


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(-0.3, 0.3, "holds"), (-0.3, 0.5, "undecided"), (0.5, 2, "refuted")]
)
def test_likeness_needs_the_whole_interval(low, high, verdict):
    part = within("x", "y", {"difference": (low + high) / 2, "low": low, "high": high, "p": 1.0}, 0.4)
    assert part.verdict == verdict


def test_whole_numbers_beside_empty_cells_stay_whole():
    frame = pd.DataFrame({"count": [1, None], "rate": [1.0, 1.5], "none": [None, np.nan], "shared": [True, False]})
    shown = cells(Table("x", "X", frame, []))
    assert shown.to_dict("list") == {
        "count": ["1", ""], "rate": ["1.00", "1.50"], "none": ["", ""], "shared": ["True", "False"],
    }  # fmt: skip
    assert whole_numbers(frame).to_csv(index=False).splitlines()[1] == "1,1.0,,True"


def test_a_measure_whose_numbers_happen_to_be_whole_keeps_what_stands_beside_it():
    frame = pd.DataFrame({"mean_acc": [90.0], "mean_acc_std": [1.25], "ids_vs_global": [0.0]})
    frame = frame.assign(ids_vs_global_low=-0.01, ids_vs_global_high=0.01, ids_vs_global_p=0.9)
    shown = cells(Table("x", "X", frame, [])).iloc[0]
    assert shown.mean_acc == "90.00 ± 1.25"
    assert shown.ids_vs_global == "+0.0000 [-0.0100, +0.0100] p=0.900"


def test_people_that_would_decide_worked_by_hand():
    """An interval of ± 4 around 1 needs a width of ± 1: sixteen times the people."""
    found = {"difference": 1.0, "low": -3.0, "high": 5.0, "p": 0.6, "people": 20}
    assert above("x", "y", found).why == "the interval contains 0; with some 320 people (20 here) it would be decided"
    assert above("x", "y", {**found, "difference": 0.0}).why == "the interval contains 0"
    tiny = above("x", "y", {**found, "difference": 0.01}).why
    assert tiny == "the interval contains 0; a million people (20 here) would not decide it"
    part = within("x", "y", {**found, "difference": 0.0, "low": -4.0, "high": 4.0}, 2.0)
    assert part.why == "the interval is partly inside ± 2.0; with some 80 people (20 here) it would be decided"


def test_spread_over_seeds_is_judged_by_its_interval():
    found = {"difference": 0.1, "low": 0.05, "high": 0.6}
    assert [at_most("x", "y", found, limit).verdict for limit in (0.7, 0.14, 0.04)] == ["holds", "undecided", "refuted"]


def test_paired_over_seeds_worked_by_hand():
    found = over_seeds([3, 5, 7], [1, 2, 3])  # differences 2, 3, 4: mean 3, standard error 1 / sqrt(3)
    assert found["difference"] == 3
    assert found["high"] - 3 == pytest.approx(4.302653 / 3**0.5, rel=1e-5)
    assert over_seeds([1], [2]) is None


@pytest.mark.parametrize("name", MAKERS)
def test_tables_are_written_in_three_forms(summary, tmp_path, name):
    table.main(summary.folder, name, tmp_path / name)
    frame = pd.read_csv(tmp_path / f"{name}.csv")
    assert len(frame) > 0
    markdown = (tmp_path / f"{name}.md").read_text()
    assert markdown.startswith("# ")
    assert "nan" not in markdown.lower().split()
    assert "Profile demo, 3 seed(s)" in markdown
    latex = (tmp_path / f"{name}.tex").read_text()
    assert "\\toprule" in latex
    assert latex.count("{") - latex.count("\\{") == latex.count("}") - latex.count("\\}")


@pytest.mark.parametrize("name", [*FIGURES, "portraits_titok_s"])
def test_figures_are_the_same_for_the_same_numbers(summary, tmp_path, name):
    for folder in "ab":
        figure.main(summary.folder, name, tmp_path / folder / name)
    for ending in (".png", ".svg"):
        content = (tmp_path / "a" / name).with_suffix(ending).read_bytes()
        assert content == (tmp_path / "b" / name).with_suffix(ending).read_bytes()
        assert len(content) > 2000
    assert Image.open(tmp_path / "a" / f"{name}.png").size[0] > 300


def test_unknown_names_are_refused(summary, tmp_path):
    with pytest.raises(ParamsError, match="mainn: no such table; there are headline"):
        table.main(summary.folder, "mainn", tmp_path / "x")
    with pytest.raises(ParamsError, match="rate: no such figure; there are rate_accuracy"):
        figure.main(summary.folder, "rate", tmp_path / "x")
    for name, sheet in (("reconstructions_titok_s", None), ("rate_ids", tmp_path / "x.npz")):
        with pytest.raises(ParamsError, match=f"{name}: --sheet is for the figures reconstructions_BACKBONE"):
            figure.main(summary.folder, name, tmp_path / "x", sheet)
    with pytest.raises(DataError, match="not a summary"):
        read_summary(tmp_path)


def test_pictures_of_test_people_are_apart_from_the_summary(summary, tmp_path):
    folder, variants = summary.folder.parent, ["pretrained", "token_specific"]
    sheets.main(
        folder / "evaluation", folder / "faces", "titok_s", json.dumps(variants), "test", 1, tmp_path / "titok_s"
    )
    with np.load(tmp_path / "titok_s.npz", allow_pickle=False) as found:
        assert found.files == ["original", *variants]
        assert np.array_equal(found["original"], open_store(folder / "faces").images[::2])  # everybody's first
        kept = np.load(folder / "evaluation" / "titok_s" / "token_specific" / "test" / "seed1" / "sheet.npy")
        assert np.array_equal(found["token_specific"], kept)
    figure.main(summary.folder, "reconstructions_titok_s", tmp_path / "x", tmp_path / "titok_s.npz")
    assert Image.open(tmp_path / "x.png").size[0] > 300
    assert not (summary.folder / "sheets").exists()


def test_metrics_for_dvc(summary):
    found = metrics(summary)["titok_s"]["token_specific"]["nn"]
    assert found["ids"] == pytest.approx(0.752)
    assert set(found) == {"mean_acc", "ids", "ids_centred", "psnr", "ssim"}


def test_a_choice_of_published_rows_is_none():
    assert published_row("main", backbone="titok_s") == {}
    assert published_row("main", backbone="ibq", method="global") == {}


def test_readers_see_what_belongs_together():
    row = {"backbone": "x_1", "mean_acc": 90.126, "mean_acc_std": 1.0, "mean_acc_low": 88.0, "mean_acc_high": 92.0,
           "ids_vs_global": 0.01234, "ids_vs_global_low": -0.01, "ids_vs_global_high": 0.03, "ids_vs_global_p": 0.2,
           "published_ids": None, "groups": 16}  # fmt: skip
    none = {**dict.fromkeys(row), "backbone": "y"}
    shown = Table("t", "Title", pd.DataFrame([row, none]), ["A note, 100 %."])
    text = to_markdown(shown)
    assert "90.13 ± 1.00 [88.00, 92.00]" in text
    assert "+0.0123 [-0.0100, +0.0300] p=0.200" in text
    assert "| 16 " in text
    assert "_std" not in text
    assert text.endswith("- A note, 100 %.\n")
    latex = to_latex(shown)
    assert "x\\_1" in latex
    assert "90.13 $\\pm$ 1.00" in latex
    assert "100 \\%" in latex


def test_runs_are_in_the_order_of_params(summary):
    runs = [Run(*row) for row in summary.runs[["backbone", "variant", "selection"]].itertuples(index=False)]
    tokenizers = [Run("titok_s", name, "nn") for name in ("pretrained", "fine_tuned")]
    assert runs[:3] == [*tokenizers, Run("titok_s", "global", "nn")]
    assert Run("titok_s", "switchable", "router") in runs
    assert Run("titok_s", "by_nn", "router") not in runs
    assert json.loads((summary.folder / "about.json").read_text())["seeds"] == SEEDS


def test_sets_stand_under_the_names_that_the_paper_prints():
    printed = ("lfw", "cfp_fp", "agedb", "mean")
    cells = {"lfw": 1.0, "cfp_fp": 2.0, "agedb_30": 3.0, "agedb_30_std": 0.1, "mean": 2.0, "mean_std": 0.1}
    assert as_printed(cells, printed, ["lfw", "cfp_fp", "agedb_30"]) == dict(zip(printed, (1, 2, 3, 2), strict=True))
    # Every set that the paper prints is one of the profile paper, and of its own name alone.
    paper = with_profile(yaml.safe_load((ROOT / "params.yaml").read_text()), ROOT / "config", {"profile": "paper"})
    for block in ("per_dataset_accuracy", "per_dataset_ids", "dataset_utilisation"):
        for name in set(published_rows(block).columns) & {"lfw", "cfp_fp", "cplfw", "calfw"} | {"agedb"}:
            assert len([one for one in paper["evaluate_on"] if one.startswith(name)]) == 1


def test_readme_shows_the_committed_numbers():
    text = (ROOT / "README.md").read_text()
    assert filled(text, ROOT) == text  # else: make readme
    for wrong, words in (
        (text.replace("<!-- end of claims -->", ""), "has no `<!-- end of"),
        (
            text.replace("<!-- claims of", "<!-- clams of").replace("<!-- end of claims", "<!-- end of clams"),
            "clams of .*: there are",
        ),
    ):
        with pytest.raises(DataError, match=words):
            filled(wrong, ROOT)
    assert text.count(" p=0.") > 5
