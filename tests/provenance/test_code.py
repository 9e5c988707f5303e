"""Which edits change which fingerprints."""

import shutil

import pytest

from stscq.errors import StscqError
from stscq.provenance import code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that may be edited; `edit` replaces text in a module and forgets what was read."""
    shutil.copytree(code.ROOT, tmp_path / "stscq", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", tmp_path / "stscq")

    def edit(path, old, new):
        file = tmp_path / "stscq" / path
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, 1))
        forget()

    def forget():
        for function in (code.facts, code.imports, code.essence):
            function.cache_clear()

    forget()
    yield edit
    monkeypatch.undo()
    forget()


MODULES = [
    "data.prepare",
    "training.stage1_tokenizer",
    "training.stage1_codebooks",
    "training.stage2",
    "training.stage3",
    "evaluation.evaluate",
    "report.tables",
]


def fingerprints():
    return {name: code.code_fingerprint(f"stscq.{name}") for name in MODULES}


def changed(before):
    after = fingerprints()
    return {name for name in MODULES if before[name] != after[name]}


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("data/orl.py", "ENLARGED = 300", "ENLARGED = 301", {"data.prepare"}),
        ("quantization/losses.py", ".mean()", ".sum()", set(MODULES[1:4])),
        ("quantization/search/scores.py", "1 << 20", "1 << 19",
         {*MODULES[1:5], "evaluation.evaluate"}),
        ("report/render.py", '"bpp": 4', '"bpp": 5', {"report.tables"}),
        ("evaluation/published.yaml", "90.70", "90.71", {"report.tables"}),
        ("errors.py", "class DataError", "class Other(StscqError): ...\n\n\nclass DataError", set(MODULES)),
    ],
)  # fmt: skip
def test_an_edit_reaches_the_rules_that_run_it(package, path, old, new, expected):
    before = fingerprints()
    package(path, old, new)
    assert changed(before) == expected


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("data/orl.py", "ENLARGED = 300", "ENLARGED = 300  # a comment"),
        ("data/orl.py", '"""Aligned size x size faces', '"""Aligned size by size faces'),
        ("data/orl.py", '"""SHA-256 of the 400 files', '"""SHA-256 of all the files'),
        ("training/loop.py", "\ndef train_and_save(", "\n\n\n# far below\ndef train_and_save("),
        (
            "quantization/losses.py",
            "return ((z.detach() - z_q) ** 2).mean()",
            "return (\n        (z.detach() - z_q) ** 2\n    ).mean()",
        ),
        ("codec/bitstream/packing.py", "import numpy as np", "import numpy as np\n"),
    ],
)
def test_comments_docstrings_and_layout_change_nothing(package, path, old, new):
    before = fingerprints()
    package(path, old, new)
    assert changed(before) == set()


def test_imports_inside_functions_count(package):
    assert "stscq.recognition.dlib_resnet" in code.closure("stscq.evaluation.evaluate")
    assert "stscq.recognition.dlib_resnet" not in code.closure("stscq.training.stage2")


def test_what_cannot_be_read_is_named(package):
    package("data/orl.py", "ENLARGED = 300", "ENLARGED = = 300")
    with pytest.raises(StscqError, match=r"data/orl\.py, line \d+: invalid syntax"):
        code.code_fingerprint("stscq.data.prepare")
    with pytest.raises(StscqError, match=r"stscq\.data\.nothing: no such module"):
        code.code_fingerprint("stscq.data.nothing")


def test_what_was_parsed_once_is_remembered_by_its_text(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parsed = []
    facts_of = code.facts_of
    monkeypatch.setattr(code, "facts_of", lambda text, file: parsed.append(file.name) or facts_of(text, file))
    code.remembered.cache_clear()
    before = fingerprints()
    assert "stage2.py" in parsed
    parsed.clear()
    code.remembered.cache_clear()
    package("data/orl.py", "ENLARGED = 300", "ENLARGED = 301")
    after = fingerprints()
    assert parsed == ["orl.py"]
    assert {name for name in MODULES if before[name] != after[name]} == {"data.prepare"}
    (tmp_path / ".stscq" / "code.sqlite").unlink()
    code.remembered.cache_clear()
    assert fingerprints() == after
    code.remembered.cache_clear()  # the next test reads that of its own folder
