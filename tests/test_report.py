"""Tables: what a reader sees comes from the numbers, and published values stand beside their own rows."""

import json

import numpy as np
import pandas as pd
import pytest

from stscq.report.collect import Evaluations, Run
from stscq.report.render import Table, to_markdown
from stscq.report.tables import FACE_TABLES as TABLES
from stscq.report.tables import published
from tests.conftest import ROOT

VARIANTS = {
    "titok_s": {
        "global": {"shared": True, "M": 1, "K": 8, "training": "nn", "published": [1, 4096]},
        "token_specific": {"shared": False, "M": 1, "K": 8, "training": "nn", "published": [1, 4096]},
        "switchable": {"shared": False, "M": 4, "K": 4, "training": "router", "published": [256, 256]},
        "by_nn": {"shared": False, "M": 4, "K": 4, "training": "nn", "published": [16, 1024]},
    }
}
GAIN = {"stage1": -0.1, "global": 0.0, "token_specific": 0.1, "switchable": 0.05, "by_nn": 0.0}
SHARE = {
    "utilisation_token_mean": 0.5,
    "utilisation_all_entries": 0.5,
    "utilisation_merged": 0.9,
    "utilisation_bound": 1.0,
}


@pytest.fixture
def evaluations(tmp_path):
    """Evaluations of six people, in which token_specific is better by 0.1 in IDS on every image."""
    random = np.random.default_rng(0)
    for seed in (1, 2, 3):
        base = random.uniform(0.6, 0.7, 12)
        original = tmp_path / "original" / "test" / f"seed{seed}"
        original.mkdir(parents=True)
        (original / "metrics.json").write_text(
            json.dumps({"mean_acc": 99.0, "mean_face": {"ids": 0.5, "ids_centred": 0.0}})
        )
        for variant, gain in GAIN.items():
            folder = tmp_path / "titok_s" / variant / "test" / f"seed{seed}"
            folder.mkdir(parents=True)
            selections = ["nn", "cr"] if variant == "switchable" else ["nn"]
            images = pd.DataFrame({"row": range(12), "identity": [f"p{i // 2}" for i in range(12)], "ids": base + gain})
            images["ids_centred"] = 2 * images.ids
            pairs = pd.DataFrame(
                {
                    "a": range(0, 12, 2),
                    "b": range(1, 12, 2),
                    "fold": 0,
                    "correct": [variant != "global"] * 3 + [True] * 3,
                }
            )
            pd.concat([images.assign(selection=s) for s in selections]).to_parquet(folder / "images.parquet")
            pd.concat([pairs.assign(selection=s) for s in selections]).to_parquet(folder / "pairs.parquet")
            measured = {
                "mean_acc": 100 * pairs.correct.mean() + seed, "ids": float((base + gain).mean()), "ids_centred": 0.5,
                "psnr": 20.0, "ssim": 0.6, "bits": 96, "bytes_written": 12.0, "bpp": 0.0234,
                "groups_used": 0.75, **SHARE,
            }  # fmt: skip
            everything = {"missing": {"lpips": "no weights"}, "selections": dict.fromkeys(selections, measured)}
            (folder / "metrics.json").write_text(json.dumps(everything))
    return Evaluations(tmp_path, [1, 2, 3], ["test"], VARIANTS)


def test_main_table(evaluations):
    frame = TABLES["main"](evaluations).frame.set_index("method")
    assert frame.loc["original", "mean_acc"] == 99.0
    assert frame.loc["mean_face", "ids"] == 0.5
    assert frame.loc["global", "mean_acc"] == 52.0  # 50 + seed
    assert frame.loc["global", "mean_acc_std"] == 1.0
    assert frame.loc["token_specific", "ids_vs_global"] == pytest.approx(0.1)
    assert frame.loc["token_specific", "ids_vs_global_p"] < 0.01
    assert frame.loc["token_specific", "ids_centred_vs_global"] == pytest.approx(0.2)
    assert frame.loc["token_specific", "mean_acc_vs_global"] == 50.0
    assert frame.loc["token_specific", "published_mean_acc"] == 91.66
    assert frame.loc["global", "published_ids"] == 0.5764
    assert pd.isna(frame.loc["global_plain", "published_ids"])


def test_published_values_stand_beside_their_own_rows(evaluations):
    seeds = TABLES["seeds"](evaluations).frame.set_index(["codebooks", "training"])
    assert seeds.loc[(1, "nn"), "published_mean_acc"] == 91.65
    assert seeds.loc[(4, "router"), "published_mean_acc"] == 87.63
    inference = TABLES["selection_at_inference"](evaluations).frame.set_index("selection")
    assert inference.loc["NN", "published_ids"] == 0.5180
    assert inference.loc["CR", "published_ids"] == 0.5125
    assert inference.loc["CR", "ids_vs_nn"] == 0.0
    training = TABLES["selection_in_training"](evaluations).frame.set_index("training")
    assert training.loc["routing", "published_utilisation"] == 89.34
    assert training.loc["NN", "published_utilisation"] == 19.89


def test_a_missing_published_row_is_an_empty_cell():
    assert published("main", backbone="ibq", method="global") == {"published_mean_acc": None, "published_ids": None}


def test_markdown_joins_what_belongs_together():
    row = {"backbone": "x", "mean_acc": 90.126, "mean_acc_std": 1.0, "mean_acc_low": 88.0, "mean_acc_high": 92.0,
           "ids_vs_global": 0.01234, "ids_vs_global_low": -0.01, "ids_vs_global_high": 0.03, "ids_vs_global_p": 0.2,
           "published_ids": None}  # fmt: skip
    text = to_markdown(Table("t", "Title", pd.DataFrame([row]), ["A note."]))
    assert "90.13 ± 1.00 [88.00, 92.00]" in text
    assert "+0.0123 [-0.0100, +0.0300] p=0.200" in text
    assert "_std" not in text
    assert text.endswith("- A note.\n")


def test_runs_are_in_the_order_of_params(evaluations):
    assert evaluations.runs()[:2] == [Run("titok_s", "stage1", "nn"), Run("titok_s", "global", "nn")]
    assert Run("titok_s", "switchable", "cr") in evaluations.runs()
    assert Run("titok_s", "by_nn", "cr") not in evaluations.runs()


def test_readme_shows_the_committed_numbers():
    """Every row of numbers in the README is a row of the demo's headline table, and all of them are there."""
    rows = {
        name: [line for line in (ROOT / name).read_text().splitlines() if line.startswith("| ") and "±" in line]
        for name in ("README.md", "results/demo/tables/headline.md")
    }
    assert rows["README.md"] == rows["results/demo/tables/headline.md"]
    assert len(rows["README.md"]) > 5
