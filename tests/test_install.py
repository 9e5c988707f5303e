"""requirements/install.py: which torch a machine gets, and that pip's configuration holds for uv too."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

sys.path.append(str(ROOT / "requirements"))
import install


@pytest.mark.parametrize(
    ("gpus", "variant"),
    [
        ([], "cpu"),
        ([(9.0, 580)], "cuda"),
        ([(7.5, 580)], "cuda"),
        ([(7.0, 580)], "cuda12"),
        ([(7.0, 580), (9.0, 580)], "cuda12"),
        ([(9.0, 550)], "cuda12"),
        ([(9.0, 470)], "cpu"),
        ([(6.1, 580)], "cpu"),
    ],
)
def test_variant_for_gpus(gpus, variant):
    assert install.pick(gpus) == variant


@pytest.mark.parametrize(
    ("says", "found"),
    [("echo 7.0, 535.104.05; echo 8.0, 535.104.05", [(7.0, 535), (8.0, 535)]), ("echo No devices; exit 9", [])],
)
def test_gpus_are_asked_for(tmp_path, monkeypatch, says, found):
    command = tmp_path / "nvidia-smi"
    command.write_text(f"#!/bin/sh\n{says}\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert install.gpus() == found


def test_pip_settings_reach_uv():
    text = """\
:env:.find-links='/wheels'
global.cert='/ca.pem'
global.find-links='/other'
global.index-url='https://mirror.example/simple'
install.find-links='/third /fourth'
"""
    pip = install.pip_settings(text)
    assert pip == {"find-links": "/wheels", "cert": "/ca.pem", "index-url": "https://mirror.example/simple"}
    variables = install.uv_environment({**pip, "find-links": "/a\n/b"}, {"SSL_CERT_FILE": "/mine.pem", "HOME": "/h"})
    assert variables["UV_FIND_LINKS"] == "/a,/b"
    assert variables["UV_DEFAULT_INDEX"] == "https://mirror.example/simple"
    assert variables["SSL_CERT_FILE"] == "/mine.pem"
    assert variables["HOME"] == "/h"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A project of its own, whose set-up only counts."""
    for name in ("VENV", "READY"):
        monkeypatch.setattr(install, name, tmp_path / getattr(install, name).relative_to(ROOT))
    install.VENV.mkdir()
    calls = []
    monkeypatch.setattr(install, "install", calls.append)
    monkeypatch.setattr(install, "gpus", list)
    return calls


def test_set_up_once_and_again_for_another_word(place):
    assert [install.main(word) for word in ("", "", "cuda", "", "cpu")] == [0] * 5
    assert place == ["cpu", "cuda", "cpu"]


def test_another_lock_sets_up_again(place, monkeypatch):
    install.main("")
    monkeypatch.setattr(install, "wanted", lambda variant: f"{variant} 3.11 other\n")
    install.main("")
    assert place == ["cpu", "cpu"]


def test_a_failed_set_up_is_not_ready(place, monkeypatch, capsys):
    install.main("")

    def fail(variant):
        raise subprocess.CalledProcessError(1, ["uv", "pip"])

    monkeypatch.setattr(install, "install", fail)
    assert install.main("cuda") == 2
    assert not install.READY.exists()
    assert "make environment" in capsys.readouterr().err


def test_an_unknown_word_is_refused(place, capsys):
    assert install.main("rocm") == 2
    assert "TORCH=rocm" in capsys.readouterr().err
    assert not place


def test_no_python_is_told_how_to_get_one():
    done = subprocess.run(
        ["make", "environment", "PYTHON=/nowhere/python"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert all(word in done.stderr for word in ("/nowhere/python", "3.13", "apt install python3-venv", "Fedora"))
