"""`stscq compare`: another processor passes, another result does not, and the output says where it shows.

tests/data/compare: the demo's tables on an Intel (commit 8812a92) and on an AMD (b721586: the same method and numbers,
an older kernel of the search), and what planted errors measured there (planted.csv, a row a number with its values for
the seeds 1, 2, 3).
"""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from stscq.cli import app
from stscq.report.compare import compare
from stscq.report.compare_spread import ALARMS
from stscq.report.render import summary_columns
from tests.conftest import ROOT

RECORDED = ROOT / "tests" / "data" / "compare"
MAIN = """backbone,method,entries,bpp,mean_acc,mean_acc_std,mean_acc_low,mean_acc_high,psnr,published_ids,seconds
none,original,,,98.5,1.0,96.0159,100.984,,,
ibq,global,16.0,0.0625,81.0,1.0,78.5159,83.4841,20.0,0.8403,1.0
ibq,token_specific,16.0,0.0625,80.0,2.0,75.0317,84.9683,21.0,0.8545,2.0
"""
CLAIMS = """number,claim,where,statistic,value,low,high,p,verdict,why
1,more is better,,,,,,,holds,all parts hold
1,,ibq,mean_acc,1.5,0.5,2.5,0.01,holds,above 0
7,,ibq,"mean_acc, best M = 2 less M = 1",0.1,-1.0,1.2,0.8,does not hold,around 0
"""


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "tables").mkdir(parents=True)
        (tmp_path / name / "tables" / "main.csv").write_text(MAIN)
        (tmp_path / name / "tables" / "claims.csv").write_text(CLAIMS)
    return tmp_path / "a", tmp_path / "b"


def edit(folder, table, old, new):
    file = folder / "tables" / f"{table}.csv"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def places(a, b, **options):
    """Of the differences; but not whole columns, whose few rows here are never more than their farthest cell."""
    found = [d for d in compare(a, b, **options).differences if "rows are" not in d.why]
    return [": ".join(filter(None, (d.table, d.row, d.column))) for d in found]


def test_equal_folders_do_not_differ(folders):
    found = compare(*folders)
    assert found.differences == found.noted == []
    assert found.tables == 2
    assert found.cells == 3 * 4 + 3 * 2  # bpp, mean_acc, psnr, published_ids; value, verdict
    assert found.tested == 2 + 2  # mean_acc of what was trained; values of claims
    assert found.no_spread == 2  # psnr: no table says how it spreads
    assert found.not_compared == 3


@pytest.mark.parametrize(
    ("table", "old", "new", "said"),
    [
        # v = 1 + (1 + 4) / 2, the standard error sqrt(v 2/3) = 1.53, and the farthest of four cells may be 3.2 off.
        ("main", "81.0,1.0,78.5159,83.4841", "85.0,1.0,82.5159,87.4841", []),
        ("main", "81.0,1.0,78.5159,83.4841", "87.0,1.0,84.5159,89.4841", ["main: ibq, global, 16: mean_acc"]),
        ("main", "81.0,1.0,78.5159,83.4841", "81.0,,,", []),  # the spread of the other folder serves both
        ("main", "81.0,1.0,78.5159,83.4841", ",,,", ["main: ibq, global, 16: mean_acc"]),
        ("main", "81.0,1.0,78.5159,83.4841", "nan,1.0,78.5159,83.4841", ["main: ibq, global, 16: mean_acc"]),
        ("main", "98.5,1.0", "98.6,1.0", []),  # not trained: 0.1 %
        ("main", "98.5,1.0", "98.8,1.0", ["main: none, original: mean_acc"]),  # 0.3 %
        ("main", "0.0625,80.0", "0.0626,80.0", ["main: ibq, token_specific, 16: bpp"]),
        ("main", "0.8403", "0.8404", ["main: ibq, global, 16: published_ids"]),
        ("main", ",20.0,", ",20.5,", []),  # no spread: not tested
        ("main", ",20.0,", ",,", ["main: ibq, global, 16: psnr"]),
        ("main", "8545,2.0", "8545,9.0", []),  # a time
        ("main", "16.0", "16", []),  # the same size, written otherwise
        ("main", "psnr", "ssim", ["main: psnr", "main: ssim"]),
        ("main", "ibq,global,16.0", "ibq,global,32.0", ["main: ibq, global, 16", "main: ibq, global, 32"]),
        ("claims", "M = 2 less", "M = 4 less", []),  # what the run chose is no name of the row
        ("claims", "0.1,-1.0,1.2,0.8", "0,,,", []),  # and may have no interval
        ("claims", "1.5,0.5,2.5", "19.5,18.5,20.5", ["claims: 1, ibq, mean_acc: value"]),
    ],
)  # fmt: skip
def test_an_edited_cell(folders, table, old, new, said):
    a, b = folders
    edit(b, table, old, new)
    assert sorted(places(a, b)) == said


def test_a_verdict_differs_only_with_its_number(folders):
    a, b = folders
    edit(b, "claims", "0.01,holds", "0.04,does not hold")
    found = compare(a, b)
    assert found.differences == []
    assert [str(change) for change in found.noted] == ["claims: 1, ibq, mean_acc: verdict: holds -> does not hold"]
    edit(b, "claims", "1.5,0.5,2.5", "-9.5,-10.5,-8.5")
    found = compare(a, b)
    assert {d.column for d in found.differences if d.row} == {"value", "verdict"}
    assert found.noted == []


def test_tolerance_and_times_are_options(folders):
    a, b = folders
    edit(b, "main", "8545,2.0", "8545,9.0")
    edit(b, "main", ",20.0,", ",20.1,")
    assert places(a, b, tolerance=0.001) == ["main: ibq, global, 16: psnr"]
    assert places(a, b, tolerance=0.01) == []
    assert places(a, b, measured=True) == ["main: ibq, token_specific, 16: seconds"]


def test_a_missing_table_and_another_order(folders):
    a, b = folders
    (b / "tables" / "claims.csv").unlink()
    head, *rows = MAIN.splitlines()
    (b / "tables" / "main.csv").write_text("\n".join([head, *rows[::-1]]) + "\n")
    assert places(a, b) == ["claims"]


def test_a_column_that_only_one_folder_could_fill(folders):
    a, b = folders
    frame = pd.read_csv(a / "tables" / "main.csv")
    frame.assign(psnr=float("nan")).to_csv(a / "tables" / "main.csv", index=False)
    assert places(a, b) == ["main: ibq, global, 16: psnr", "main: ibq, token_specific, 16: psnr"]


def test_what_only_says_how_a_number_spreads_may_be_new(folders):
    a, b = folders
    for file in (b / "tables").glob("main.csv"):
        pd.read_csv(file).assign(psnr_std=[None, 0.1, 0.1]).to_csv(file, index=False)
    found = compare(a, b)
    assert (found.differences, found.no_spread) == ([], 0)
    edit(b, "main", ",20.0,", ",20.5,")
    assert "main: ibq, global, 16: psnr" in places(a, b)


def test_names_that_training_gives_are_not_compared(folders):
    a, b = folders
    (a / "tables" / "group_use.csv").write_text("backbone,codebook_group,share\nibq,0,60\nibq,1,40\n")
    (b / "tables" / "group_use.csv").write_text("backbone,codebook_group,share\nibq,1,99\nibq,2,1\n")
    assert places(a, b) == []


def test_exit_codes_and_json(folders, tmp_path):
    a, b = folders
    run = CliRunner().invoke
    same = run(app, ["compare", str(a), str(b)])
    assert same.exit_code == 0
    assert same.stdout.startswith("0 differences in 18 cells of 2 tables (3 times and peaks of memory not compared)\n")
    edit(b, "main", "0.8403", "0.9")
    assert run(app, ["compare", str(a), str(b)]).exit_code == 1
    found = run(app, ["compare", str(a), str(b), "--json"])
    assert found.exit_code == 1
    assert json.loads(found.stdout)["differences"] == [
        {"table": "main", "row": "ibq, global, 16", "column": "published_ids", "a": "0.8403", "b": "0.9", "why": ""}
    ]
    assert run(app, ["compare", str(a), str(tmp_path / "nowhere")]).exit_code == 2
    (tmp_path / "empty").mkdir()
    empty = run(app, ["compare", str(a), str(tmp_path / "empty")])
    assert empty.exit_code == 2
    assert "no tables/*.csv" in empty.stderr


def drawn(random, shift=0.0):
    """A table of four backbones with eight rows and five measures each, of three seeds; spreads differ threefold."""
    rows = []
    for backbone in "abcd":
        for variant in range(8):
            scale = 1 + 2 * variant / 7
            cells = {}
            for measure in ("mean_acc", "ids", "psnr", "ssim", "used"):
                cells |= summary_columns(measure, list(random.normal(shift, scale, 3)))
            rows.append({"backbone": backbone, "method": f"v{variant}", **cells})
    return pd.DataFrame(rows)


def differ(tmp_path, random, shift=0.0):
    for name, of in (("a", 0.0), ("b", shift)):
        (tmp_path / name).mkdir(exist_ok=True)
        drawn(random, of).to_csv(tmp_path / name / "main.csv", index=False, float_format="%.6g")
    return compare(tmp_path / "a", tmp_path / "b").differences


def test_false_alarms_are_as_rare_as_said(tmp_path):
    random = np.random.default_rng(0)
    alarms = sum(bool(differ(tmp_path, random)) for _ in range(40))
    assert alarms <= 2  # of 40 at a rate of ALARMS = 0.01: more has a probability of 0.01
    assert ALARMS == 0.01


def test_a_small_change_of_everything_is_seen_in_whole_columns(tmp_path):
    found = differ(tmp_path, np.random.default_rng(1), shift=8.0)  # 2.7 to 4.2 standard errors
    assert {d.column for d in found if not d.row} == {"mean_acc", "ids", "psnr", "ssim", "used"}


def test_another_processor_passes():
    done = CliRunner().invoke(app, ["compare", str(RECORDED / "intel"), str(RECORDED / "amd")])
    assert done.exit_code == 0, done.stdout
    assert "0 differences" in done.stdout
    # Six verdicts change, the headline by 4 points: that is noted.
    assert done.stdout.count("note: claims") == 6


def planted(fault, folder):
    """The AMD run's tables with the numbers that this error gave on that machine."""
    values = pd.read_csv(RECORDED / "planted.csv", keep_default_na=False)
    shutil.copytree(RECORDED / "amd", folder)
    for file in folder.glob("*.csv"):
        table = pd.read_csv(file)
        for row in values[values.fault == fault].itertuples():
            described = {"backbone": row.backbone, "method": row.method, "selection": row.selection}
            if {"backbone", "method" if row.method else "selection", row.measure} <= set(table):
                here = np.logical_and.reduce([table[c] == v for c, v in described.items() if v and c in table])
                new = summary_columns(row.measure, [row.seed1, row.seed2, row.seed3])
                for column in new.keys() & {*table, f"{row.measure}_std"} if here.any() else ():
                    table.loc[here, column] = new[column]
        table.to_csv(file, index=False, float_format="%.6g")
    return folder


@pytest.mark.parametrize(
    ("fault", "gave_away"),
    [
        # Stage 1's codebook does not start from k-means centres: global_stage1 of maskgit_vqgan.
        ("codebook start lost", {"psnr"}),
        # The weights of L_ent and L_conf change places: the router sends everybody to one group.
        ("router losses swapped", {"groups_used", "same_group_as_nn", "utilisation_merged"}),
        # Every second test person trains as well: not the pairs show it, but the mean of the training people.
        ("wrong split", {"ids", "ids_centred"}),
    ],
)
def test_a_planted_error_fails_and_shows_where(fault, gave_away, tmp_path):
    done = CliRunner().invoke(app, ["compare", str(RECORDED / "intel"), str(planted(fault, tmp_path / "b"))])
    assert done.exit_code == 1, done.stdout
    found = compare(RECORDED / "intel", tmp_path / "b").differences
    assert gave_away <= {d.column for d in found}
    named = {"codebook start lost": "global_stage1", "router losses swapped": "switchable", "wrong split": "mean_face"}
    assert any(named[fault] in d.row for d in found)
