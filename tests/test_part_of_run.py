"""Tables of a part of a run: those of the whole run, of fewer variants."""

import json

import pytest
import yaml

from benchmarks import part_of_run
from stscq.errors import ParamsError
from stscq.report.table import MAKERS
from tests.conftest import ROOT
from tests.report_fixtures import TOKENIZERS, VARIANTS, make_summary

ASKED = {"titok_s": ["fine_tuned", "global", "token_specific"]}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project whose run is the made-up one, and the summary of all of it."""
    (tmp_path / "config").mkdir()
    for top in ("data", "models"):
        (tmp_path / top).mkdir()
    (tmp_path / "data" / "demo").symlink_to(tmp_path / "run")
    (tmp_path / "models" / "demo").symlink_to(tmp_path / "run" / "models")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    model = {"model": {"K": TOKENIZERS["titok_s"]["fine_tuned"]}}
    params["backbones"] = {"titok_s": {**model, "variants": VARIANTS["titok_s"]}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    summary = make_summary(tmp_path / "run")
    (tmp_path / "run" / "measured_cost").symlink_to("measured")
    return summary


def test_the_same_numbers_of_fewer_variants(project, tmp_path, capsys):
    out = tmp_path / "part.md"
    part_of_run.main("demo", "[1, 2, 3]", json.dumps(ASKED), '["claims", "seeds"]', out)
    text = out.read_text()
    assert text.startswith(
        "# Part of a run: profile demo, seeds 1, 2, 3\n\ntitok_s (fine_tuned, global, token_specific)."
    )
    assert [line for line in text.splitlines() if line.startswith("#")][1:] == [
        f"## {MAKERS[name](project).title}" for name in ("claims", "seeds")
    ]
    assert text in capsys.readouterr().out
    whole = MAKERS["claims"](project).frame
    (ours,) = whole[whole.statistic.str.startswith("ids, token-specific less")].itertuples()
    row = next(line for line in text.splitlines() if "ids, token-specific less" in line)
    assert f"| {ours.value:.3f} " in row
    assert "switchable" not in text.split("## ")[2]


def test_a_variant_that_is_none_is_named(project):
    with pytest.raises(ParamsError, match="globall: no variants of titok_s in profile demo"):
        part_of_run.main("demo", "[1]", '{"titok_s": ["globall"]}', '["claims"]')
