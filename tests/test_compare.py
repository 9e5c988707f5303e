"""`stscq compare`: what counts as a difference of two results folders, and the exit code that CI goes by."""

import json
import shutil

import pandas as pd
import pytest
from typer.testing import CliRunner

from stscq.cli import app
from stscq.report.compare import compare
from tests.conftest import ROOT

MAIN = """backbone,method,codebook_size,bpp,mean_acc,mean_acc_std,mean_acc_low,mean_acc_high,psnr,published_ids,seconds
none,original,,,98.5,1.0,97.0,100.0,,,
ibq,global,16.0,0.0625,81.0,1.0,79.0,83.0,20.0,0.8403,1.0
ibq,token_specific,16.0,0.0625,80.0,2.0,76.0,84.0,21.0,0.8545,2.0
"""
CLAIMS = """number,claim,where,statistic,value,low,high,p,verdict,why
1,more is better,,,,,,,holds,all parts hold
1,,ibq,mean_acc,1.5,0.5,2.5,0.01,holds,above 0
2,,ibq,mean_acc,0.1,-1.0,1.2,0.8,does not hold,around 0
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


def lines(a, b, **options):
    return [str(difference) for difference in compare(a, b, **options).differences]


def test_equal_folders_do_not_differ(folders):
    found = compare(*folders)
    assert found.differences == []
    assert found.tables == 2
    assert found.cells == 3 * 4 + 3 * 2  # bpp, mean_acc, psnr, published_ids; value, verdict
    assert found.not_compared == 3


@pytest.mark.parametrize(
    ("table", "old", "new", "said"),
    [
        # Intervals [79, 83] and [82, 86] overlap; [84, 88] does not reach.
        ("main", "81.0,1.0,79.0,83.0", "84.0,1.0,82.0,86.0", []),
        (
            "main", "81.0,1.0,79.0,83.0", "86.0,1.0,84.0,88.0",
            ["main: ibq, global, 16: mean_acc: 81.0 [79, 83] -> 86.0 [84, 88]"],
        ),
        ("main", ",20.0,", ",20.1,", []),  # no interval: half a percent
        ("main", ",20.0,", ",20.5,", ["main: ibq, global, 16: psnr: 20.0 -> 20.5"]),
        ("main", ",20.0,", ",,", ["main: ibq, global, 16: psnr: 20.0 -> empty"]),
        ("main", "0.8403", "0.8404", ["main: ibq, global, 16: published_ids: 0.8403 -> 0.8404"]),
        ("main", "79.0,83.0", ",", ["main: ibq, global, 16: mean_acc: 81.0 [79, 83] -> 81.0"]),
        ("main", "8545,2.0", "8545,9.0", []),  # a time
        ("main", "16.0", "16", []),  # the same size, written otherwise
        ("claims", "1.5,0.5,2.5", "4.0,3.0,5.0", ["claims: 1, ibq, mean_acc: value: 1.5 [0.5, 2.5] -> 4.0 [3, 5]"]),
        ("claims", "0.01,holds", "0.04,not testable here",
         ["claims: 1, ibq, mean_acc: verdict: holds -> not testable here"]),
        ("main", "psnr", "ssim", ["main: psnr: there -> missing", "main: ssim: missing -> there"]),
        ("main", "ibq,global,16.0", "ibq,global,32.0",
         ["main: ibq, global, 16: there -> missing", "main: ibq, global, 32: missing -> there"]),
    ],
)  # fmt: skip
def test_an_edited_cell(folders, table, old, new, said):
    a, b = folders
    edit(b, table, old, new)
    assert lines(a, b) == said


def test_tolerance_and_times_are_options(folders):
    a, b = folders
    edit(b, "main", "8545,2.0", "8545,9.0")
    edit(b, "main", ",20.0,", ",20.1,")
    assert lines(a, b, tolerance=0.001) == ["main: ibq, global, 16: psnr: 20.0 -> 20.1"]
    assert lines(a, b, measured=True) == ["main: ibq, token_specific, 16: seconds: 2.0 -> 9.0"]


def test_a_missing_table_and_another_order(folders):
    a, b = folders
    (b / "tables" / "claims.csv").unlink()
    head, *rows = MAIN.splitlines()
    (b / "tables" / "main.csv").write_text("\n".join([head, *rows[::-1]]) + "\n")
    assert lines(a, b) == ["claims: there -> missing"]


def test_a_column_that_only_one_folder_could_fill(folders):
    a, b = folders
    for folder in folders:
        edit(folder, "main", "psnr", "lpips")
    frame = pd.read_csv(a / "tables" / "main.csv")
    frame.assign(lpips=float("nan")).to_csv(a / "tables" / "main.csv", index=False)
    assert lines(a, b) == [
        "main: ibq, global, 16: lpips: empty -> 20.0",
        "main: ibq, token_specific, 16: lpips: empty -> 21.0",
    ]


def test_exit_codes_and_json(folders, tmp_path):
    a, b = folders
    run = CliRunner().invoke
    same = run(app, ["compare", str(a), str(b)])
    assert (same.exit_code, same.stdout) == (
        0, "0 differences in 18 cells of 2 tables (3 times and peaks of memory were not compared)\n",
    )  # fmt: skip
    edit(b, "main", "0.8403", "0.9")
    assert run(app, ["compare", str(a), str(b)]).exit_code == 1
    found = run(app, ["compare", str(a), str(b), "--json"])
    assert found.exit_code == 1
    assert json.loads(found.stdout)["differences"] == [
        {"table": "main", "row": "ibq, global, 16", "column": "published_ids", "a": "0.8403", "b": "0.9"}
    ]
    assert run(app, ["compare", str(a), str(tmp_path / "nowhere")]).exit_code == 2
    (tmp_path / "empty").mkdir()
    empty = run(app, ["compare", str(a), str(tmp_path / "empty")])
    assert empty.exit_code == 2
    assert "no tables/*.csv" in empty.stderr


def test_the_committed_demo_against_itself_and_against_one_edited_cell(tmp_path):
    demo = ROOT / "results" / "demo"
    shutil.copytree(demo / "tables", tmp_path / "tables")
    assert compare(demo, tmp_path, measured=True).differences == []
    frame = pd.read_csv(tmp_path / "tables" / "headline.csv")
    row = frame.index[frame.method == "token_specific"][0]
    shift = 2 * (frame.mean_acc_high - frame.mean_acc_low)[row] + 1
    frame.loc[row, ["mean_acc", "mean_acc_low", "mean_acc_high"]] += shift
    frame.to_csv(tmp_path / "tables" / "headline.csv", index=False)
    assert [d.column for d in compare(demo, tmp_path).differences] == ["mean_acc"]
