"""Which room may import which (pyproject.toml, [tool.importlinter]): a planted import upwards is found, and named."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("importlinter", reason="import-linter is in the extra dev")
LINT = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command(sys.argv[1:])"
UPWARDS = [
    ("stscq/errors.py", "from stscq import files"),
    ("stscq/params.py", "from stscq.codec.bitstream import packing"),
    ("stscq/recognition/frozen.py", "from stscq.training import loop"),
    ("stscq/recognition/base.py", "from stscq.recognition import dlib_resnet"),
    ("stscq/codec/api.py", "from stscq.training import batches"),
    ("stscq/codec/bitstream/payload.py", "from stscq.codec.bundle import read"),
    ("stscq/evaluation/count_cost.py", "from stscq.report import table"),
]


@pytest.fixture
def lint(tmp_path):
    """Runs import-linter on a copy of the package; returns its exit code and what it printed."""
    shutil.copytree(
        ROOT / "stscq", tmp_path / "stscq", ignore=shutil.ignore_patterns("__pycache__", "tokenizers", "recognisers")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def run():
        done = subprocess.run(
            [sys.executable, "-c", LINT, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_rooms_depend_on_rooms_below(lint):
    code, text = lint()
    assert code == 0, text


@pytest.mark.parametrize(("file", "line"), UPWARDS)
def test_an_import_upwards_is_found(lint, tmp_path, file, line):
    with (tmp_path / file).open("a") as module:
        module.write(f"\n\n{line}\n")
    code, text = lint()
    assert code == 1, text
    assert file.removesuffix(".py").replace("/", ".") in text


def test_a_module_without_a_place_is_found(lint, tmp_path):
    (tmp_path / "stscq/somewhere.py").write_text("")
    code, text = lint()
    assert code == 1, text
    assert "somewhere" in text
