"""Sets up .venv from the locks beside this file: `make environment`. Standard library only: nothing is installed yet.

pip, which is in every new environment, installs uv (uv.txt); uv installs common.txt and the variant's lock, every file
checked by its SHA-256. uv does not read pip's configuration, so what it says of index, wheels on disk, certificate and
proxy is handed on: who has configured pip need not do so again.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
VENV = HERE.parent / ".venv"
READY = VENV / ".ready"
"""Written last: variant, Python and locks of an environment that is complete."""
VARIANTS = ("cpu", "cuda", "cuda12")
AS_UV = {"index-url": "UV_DEFAULT_INDEX", "find-links": "UV_FIND_LINKS", "cert": "SSL_CERT_FILE", "proxy": "ALL_PROXY"}
"""pip's settings that matter here, and uv's names for them."""


def gpus() -> list[tuple[float, int]]:
    """Compute capability and the driver's major version of each NVIDIA GPU; none where there is no driver."""
    command = ["nvidia-smi", "--query-gpu=compute_cap,driver_version", "--format=csv,noheader"]
    if not shutil.which(command[0]):
        return []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [line.split(", ") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return [(float(row[0]), int(row[1].split(".")[0])) for row in rows if row[0][:1].isdigit()]


def pick(found: list[tuple[float, int]]) -> str:
    """The variant for these GPUs (compute capability, driver): the newest CUDA that all of them can run."""
    if found and min(found)[0] >= 7.5 and found[0][1] >= 580:
        return "cuda"
    if found and min(found)[0] >= 7.0 and found[0][1] >= 525:
        return "cuda12"
    return "cpu"


def wanted(variant: str) -> str:
    """What READY says when .venv is as this Python and the locks would make it."""
    files = [HERE / "common.txt", HERE / f"{variant}.txt", HERE / "uv.txt", HERE.parent / "pyproject.toml"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return f"{variant} {sys.version_info[0]}.{sys.version_info[1]} {digest}\n"


def pip_settings(text: str) -> dict[str, str]:
    """What `pip config list` printed, by name; the environment wins over [install], and that over [global]."""
    rows = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    levels = ("global.", "install.", ":env:.")
    return {key[len(at) :]: ast.literal_eval(rows[key]) for at in levels for key in rows if key.startswith(at)}


def uv_environment(pip: dict[str, str], environment: dict[str, str]) -> dict[str, str]:
    """`environment` with pip's settings in uv's variables; those that are set already stay."""
    given = {uv: ",".join(pip[name].split()) for name, uv in AS_UV.items() if pip.get(name)}
    return {"UV_PYTHON_DOWNLOADS": "never", **given, **environment}


def torch_on_disk(uv: list[str], environment: dict[str, str]) -> bool:
    """Whether the configured wheels (find-links) have the locked CPU build, so that PyTorch's index is not asked."""
    trial = [*uv, "--dry-run", "--no-index", "--no-deps", "--require-hashes", "-r", str(HERE / "cpu.txt")]
    return subprocess.run(trial, env=environment, capture_output=True, check=False).returncode == 0


def uv_pip(python: Path) -> tuple[list[str], dict[str, str]]:
    """The start of `uv pip install` into the environment of `python`, and the environment variables to run it with."""
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    pip = pip_settings(listed.stdout)
    offline = ["--no-index"] if pip.get("no-index", "").lower() in ("1", "true", "yes", "on") else []
    uv = [str(python.with_name("uv")), "pip", "install", "--python", str(python), *offline]
    return uv, uv_environment(pip, dict(os.environ))


def install(variant: str) -> None:
    """A new .venv with this Python. CalledProcessError: a step failed, and said why."""
    python = VENV / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    subprocess.run([*pip, "--require-hashes", "--no-deps", "-r", HERE / "uv.txt"], check=True)
    uv, environment = uv_pip(python)
    on_disk = torch_on_disk(uv, environment)
    if on_disk and variant != "cpu":  # To uv a 2.13.0+cpu on disk is the newest of all torch==2.13.0.
        environment["UV_FIND_LINKS"] = ""
    on_index = variant == "cpu" and sys.platform == "linux" and not on_disk
    builds = ["--build-constraints", str(HERE / "common.txt")]  # of the two that come as source: the locked setuptools
    locks = [*builds, "--require-hashes", "-r", str(HERE / "common.txt"), "-r", str(HERE / f"{variant}.txt")]
    backend = ["--torch-backend", "cpu"] if on_index else []
    # Where PYTHONDONTWRITEBYTECODE is set, as in many containers, each of hundreds of jobs compiles all it imports.
    subprocess.run([*uv, "--compile-bytecode", *backend, *locks], check=True, env=environment, cwd=HERE.parent)
    editable = ["--quiet", "--no-deps", "--no-build-isolation", "--editable", "."]
    subprocess.run([*uv, *editable], check=True, env=environment, cwd=HERE.parent)


def main(word: str) -> int:
    """Makes .venv if it is not as wanted. `word`: the variant, or '' for the one that is there, else this machine's."""
    ready = READY.read_text() if READY.exists() else ""
    variant = word or next((name for name in VARIANTS if name == ready.split(" ")[0]), None) or pick(gpus())
    if variant not in VARIANTS:
        print(f"TORCH={variant}: there are cpu, cuda (CUDA 13) and cuda12 (V100, older drivers)", file=sys.stderr)
        return 2
    if ready == wanted(variant):
        return 0
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    print(f"setting up .venv: Python {version} ({sys.executable}), torch for {variant} (docs/install.md)", flush=True)
    READY.unlink(missing_ok=True)
    try:
        install(variant)
    except subprocess.CalledProcessError as error:
        step = " ".join(str(word) for word in error.cmd[:4])
        print(f"set-up stopped at `{step} ...` (docs/install.md); try again with make environment", file=sys.stderr)
        return 2
    READY.write_text(wanted(variant))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
