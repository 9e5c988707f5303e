"""The page: what stands on it, and how a browser takes it: no network, no errors, nothing wider than a phone."""

import html
import json
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from docutils.core import publish_parts
from jinja2 import Environment, StrictUndefined

from stscq.errors import DataError
from stscq.evaluation.published import blocks
from stscq.report.arithmetic import checks
from stscq.report.contents import contents, entry
from stscq.report.page import page
from stscq.report.page_parts import cell, common_folder, inputs_of, numeric_columns, read_markdown, run_history
from tests.browser import CHROMIUM
from tests.conftest import ROOT

CLAIMS = """number,claim,where,statistic,value,low,high,p,verdict,why
1,Tokens <b>gain</b>,,,,,,,holds,1 of 1 parts hold
1,,ibq,mean_acc,1.5,0.5,2.5,0.01,holds,the interval is above 0
2,Bits fall,,,,,,,does not hold,0 of 2 parts hold
3,Groups are alike,,,,,,,not testable here,no such runs
"""
RECORD = {
    "module": "stscq.report.tables",
    "inputs": {"evaluation": {"data/demo/evaluation/a/x.json": "1", "data/demo/evaluation/b/x.json": "2"}},
    "git": {"commit": "0123456789abcdef", "dirty": False},
    "versions": {"python": "3.11.7"},
    "machine": {"cpu": "a CPU", "cores": 2},
    "began": "2026-01-01T00:00:00Z",
    "seconds": 2.5,
}


@pytest.fixture
def results(tmp_path):
    """The committed demo, with claims, and with records that say where the headline came from."""
    for name in ("tables", "figures"):
        shutil.copytree(ROOT / "results" / "demo" / name, tmp_path / name)
    (tmp_path / "tables" / "claims.csv").write_text(CLAIMS)
    (tmp_path / "tables" / "headline.run.json").write_text(json.dumps(RECORD))
    return tmp_path


def made(results, **changes):
    given = {"records": [], "profile": "demo", "seeds": [1, 2, 3], "beside": results, **changes}
    return page(results / "tables", results / "figures", **given)


def test_every_table_and_figure_is_there_with_where_it_came_from(results):
    text = made(results)
    assert text == made(results)
    for file in sorted((results / "tables").glob("*.md")):
        assert f'id="tables-{file.stem}"' in text
        assert f'href="tables/{file.stem}.csv"' in text
        assert f"{results}/tables/{file.stem}.md</code>" in text  # the command
        for line in file.read_text().splitlines()[4:6]:  # numbers of the first rows
            for number in re.findall(r"-?\d+\.\d+", line):
                assert number in text
    for file in (results / "figures").glob("*.png"):
        assert f'id="figures-{file.stem}"' in text
    assert "<code>data/demo/evaluation</code>, 2 files, digest" in text
    assert "a CPU, 2 cores" in text
    assert "0123456789ab" in text
    assert re.search(r"<dt>Seeds</dt><dd>1, 2, 3</dd>", text)
    assert len(text) < 8e6


def test_claims_errata_and_their_words(results):
    text = made(results)
    assert "Does not hold: 1; Holds: 1; Not testable here: 1." in text
    assert "Tokens &lt;b&gt;gain&lt;/b&gt;" in text
    assert "0 of 2 parts hold" in text
    words = html.unescape(text)
    found = [e for block in blocks().values() if isinstance(block, dict) for e in block.get("errata", [])]
    assert len(found) >= 4
    assert all(erratum in words for erratum in found)
    (results / "tables" / "claims.csv").unlink()
    assert "Not tested in this run" in made(results)


def test_arithmetic_finds_what_the_published_errata_say():
    wrong = [(check.block, check.row, round(check.computed, 3)) for check in checks() if not check.agrees]
    assert wrong == [
        ("fairness", "titok_s, 1 codebook group", 83.915),  # (80.13 + 80.00 + 87.88 + 87.65) / 4 = 335.66 / 4; 82.42
        ("fairness", "titok_s, 1 codebook group", 3.851),
        ("cost", "maskgit_vqgan, nn, 1 codebook group", 1114.69),  # 90.69 + 1024
        ("cost", "maskgit_vqgan, nn, 16 codebook groups", 4186.69),
        ("cost", "maskgit_vqgan, router, 16 codebook groups", 346.69),
        ("dataset_utilisation", "16 codebook groups", 73.242),  # 12000 / 16384
        ("dataset_utilisation", "256 codebook groups", 18.311),
    ]


def test_another_profile_has_its_own_commands(results):
    assert "headline.md --config profile=paper</code>" in made(results, profile="paper")


def test_nothing_to_show_is_an_error(tmp_path):
    with pytest.raises(DataError, match="neither tables nor figures"):
        made(tmp_path)


def test_parts(tmp_path):
    assert cell("75.35 ± 2.96 [68.00, 82.71]") == ("75.35 ± 2.96", "[68.00, 82.71]")
    assert cell("-1.06 [-5.67, +2.79] p=0.667") == ("-1.06", "[-5.67, +2.79] p=0.667")
    assert cell("16 x 4") == ("16 x 4", "")
    assert numeric_columns([["a", "1.5", "1 x 8", ""], ["b", "", "1 x 8", ""]]) == [False, True, False, True]
    (tmp_path / "t.md").write_text("# A title\n\n| a | b |\n|:--|:--|\n| x_y | |\n\n- a `code` <b>\n")
    shown = read_markdown(tmp_path / "t.md")
    assert (shown.title, shown.columns) == ("A title", ["a", "b"])
    assert [[c.value for c in row] for row in shown.rows] == [["x_y", ""]]
    assert shown.notes == ["a <code>code</code> &lt;b&gt;"]
    (tmp_path / "t.md").write_text("words")
    with pytest.raises(DataError, match="no table in it"):
        read_markdown(tmp_path / "t.md")
    (found,) = inputs_of(RECORD)
    assert (found.option, found.folder, found.files) == ("evaluation", "data/demo/evaluation", 2)
    changed = {"inputs": {"evaluation": {**RECORD["inputs"]["evaluation"], "data/demo/evaluation/b/x.json": "3"}}}
    assert inputs_of(changed)[0].digest != found.digest
    assert str(common_folder([])) == "."
    assert (made_of := run_history([RECORD, {**RECORD, "seconds": 1.0}])).seconds == 3.5
    assert made_of.steps == [("stscq.report.tables", 2, 3.5)]


def test_contents_know_the_committed_results():
    for kind, ending in (("tables", "*.csv"), ("figures", "*.png")):
        for file in (ROOT / "results" / "demo" / kind).glob(ending):
            assert entry(kind, file.stem).category != "Other", file
    assert entry("figures", "reconstructions_ibq").title == "Reconstructions: ibq"
    assert entry("tables", "new") == (len(contents()["tables"]), "new", "Other", "")


# The page in a frame as wide as a phone or a desktop (browsers do not make windows narrower than 500 pixels), and a
# script around it that looks inside: the page itself has none.
FRAME = """<!doctype html><body style="margin:0">
<iframe id=f width={width} height=900 style="border:0" srcdoc="{page}"></iframe>
<pre id=found></pre><script>
f.onload = () => {{
  const w = f.contentWindow, d = w.document;
  found.textContent = JSON.stringify({{
    width: w.innerWidth, content: d.documentElement.scrollWidth,
    images: d.images.length, broken: [...d.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.alt),
    nameless: [...d.images].filter(i => !i.alt).length, captions: d.querySelectorAll("caption").length,
    tables: d.querySelectorAll("table").length, language: d.documentElement.lang,
    requests: w.performance.getEntriesByType("resource").map(e => e.name).filter(n => !n.startsWith("data:")),
    dangling: [...d.querySelectorAll('a[href^="#"]')].filter(a => !d.getElementById(a.hash.slice(1))).length,
  }});
}};
</script>"""


def look(text, width, folder):
    """What a browser finds on the page, and its console."""
    file = folder / "frame.html"
    file.write_text(FRAME.format(width=width, page=html.escape(text)))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/browser", "--no-first-run",
        "--disable-background-networking", "--window-size=1400,1000", "--enable-logging=stderr",
        "--virtual-time-budget=10000", "--dump-dom", file.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r"<pre id=\"found\">(.+?)</pre>", done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(html.unescape(found[1])), [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_opens_it(results, tmp_path, width):
    found, console = look(made(results), width, tmp_path)
    assert console == []
    assert found["width"] == width
    assert found["content"] <= width
    assert found["images"] == len(list((results / "figures").glob("*.png")))
    assert (found["broken"], found["nameless"], found["requests"], found["dangling"]) == ([], 0, [], 0)
    assert found["captions"] == found["tables"] > 8
    assert found["language"] == "en"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")
def test_the_browser_test_can_fail(results, tmp_path):
    """With a picture from a network, and a line that does not wrap: the page's own policy refuses the first."""
    bad = '<img src="http://127.0.0.1:9/x.png" alt="x"><p style="width: 600px">wide</p></main>'
    found, console = look(made(results).replace("</main>", bad), 390, tmp_path)
    assert found["broken"] == ["x"]
    assert any("127.0.0.1:9" in line for line in console)
    assert found["content"] > 390


def test_captions_of_snakemakes_report_are_sound():
    """Every name that they use is one that Snakemake gives, and the text is sound reStructuredText."""
    config = {"profile": "demo", "seeds": [1, 2], "judge": "dlib"}
    names = SimpleNamespace(table="main", figure="rate_ids")
    job = SimpleNamespace(wildcards=names, config=config, rule="table")
    files = sorted((ROOT / "workflow" / "report").glob("*.rst"))
    assert [file.stem for file in files] == ["figure", "page", "table", "workflow"]
    for file in files:
        text = Environment(undefined=StrictUndefined).from_string(file.read_text()).render(snakemake=job)
        body = publish_parts(text, writer="html", settings_overrides={"halt_level": 2})["body"]
        assert "<em>demo</em>" in body, file
