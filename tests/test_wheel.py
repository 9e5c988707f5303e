"""The wheel alone, in a new environment: a photo goes in and comes out, and nothing of the workflow is there."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "requirements"))
from install import READY, torch_on_disk, uv_pip  # as set-up does it

CHECK = """
import importlib.util, sys
print([name for name in ("pandas", "snakemake", "dvc", "insightface", "matplotlib") if importlib.util.find_spec(name)])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder bin/ of an environment that has the wheel and what it asks for, in the versions of the locks."""
    place = tmp_path_factory.mktemp("wheel")
    uv, environment = uv_pip(Path(sys.executable))
    wheel = [
        uv[0],
        "build",
        "--quiet",
        "--wheel",
        "--no-build-isolation",
        "--python",
        sys.executable,
        "--out-dir",
        place,
    ]
    source = place / "source"  # setuptools leaves a folder build/ where it builds
    shutil.copytree(ROOT / "stscq", source / "stscq", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([*wheel, source], check=True, env=environment)
    subprocess.run([uv[0], "venv", "--quiet", "--python", sys.executable, place / "env"], check=True, env=environment)
    variant = READY.read_text().split(" ")[0]
    locks = [word for name in ("common", variant) for word in ("--constraints", ROOT / "requirements" / f"{name}.txt")]
    on_disk = torch_on_disk(uv, environment)
    backend = ["--torch-backend", "cpu"] if variant == "cpu" and sys.platform == "linux" and not on_disk else []
    into = [uv[0], "pip", "install", "--quiet", "--python", place / "env/bin/python", *backend, *locks]
    subprocess.run([*into, *place.glob("*.whl")], check=True, env=environment)
    return place / "env" / "bin"


@pytest.mark.slow
def test_a_photo_goes_in_and_comes_out(installed, tmp_path):
    Image.fromarray(data.astronaut()).save(tmp_path / "photo.jpg")
    run = {"cwd": tmp_path, "capture_output": True, "text": True, "check": True, "env": {"PATH": "/usr/bin:/bin"}}
    said = subprocess.run([installed / "stscq", "compress", "photo.jpg", "-o", "photo.stscq"], **run)
    assert "photo.stscq: 1 image" in said.stdout
    assert (tmp_path / "photo.stscq").stat().st_size < 64
    subprocess.run([installed / "stscq", "decompress", "photo.stscq", "-o", "face.png"], **run)
    said = subprocess.run([installed / "stscq", "watermark", "detect", "face.png"], **run)
    assert "face.png: marked: made by stscq decompress" in said.stdout
    face = np.asarray(Image.open(tmp_path / "face.png")).astype(int)
    assert face.shape == (64, 64, 3)
    assert face.std() > 20
    assert face[..., 0].mean() > face[..., 2].mean() + 10  # her skin and her suit
    assert subprocess.run([installed / "python", "-c", CHECK], **run).stdout == "[]\n"


@pytest.mark.slow
def test_a_command_of_the_workflow_says_what_it_needs(installed, tmp_path):
    (tmp_path / "people").mkdir()
    command = [installed / "stscq", "faces", "people", "-o", "store"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "error: this needs the package pandas, which comes with the workflow: pip install 'stscq[workflow]'\n"
    )
