"""The locks are closed: whatever a locked package needs is locked too, at a version that it takes, in every variant."""

import importlib.metadata
import json
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
METADATA = json.loads((ROOT / "requirements" / "metadata.json").read_text())
PYTHONS = ("3.11", "3.12", "3.13")
VARIANTS = ("cpu", "cuda", "cuda12")
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"}
MACOS = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64", "os_name": "posix"}
OVERRIDDEN = {"opencv-python": "sys_platform == 'never'"}
"""Requirements that the locks leave out on purpose, by name: see pyproject.toml."""


def lock_text(variant):
    return "".join((ROOT / "requirements" / f"{name}.txt").read_text() for name in ("common", variant))


def markers(python, machine):
    """What a CPython `python` on `machine` says of itself in markers."""
    cpython = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    return {**machine, **cpython, "python_version": python, "python_full_version": f"{python}.0", "extra": ""}


def locked(text, environment):
    """{name: version} of the lines of a lock that hold in `environment`."""
    lines = [line.removesuffix(" \\") for line in text.splitlines() if line[:1].isalnum()]
    found = [requirement for requirement in map(Requirement, lines) if holds(requirement, environment, ())]
    versions = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in found}
    assert len(versions) == len(found), "locked twice"
    return versions


def holds(requirement, environment, extras):
    """Whether the marker of a requirement holds for one of the extras asked for, or for none."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras))


def walk(text, environment, metadata):
    """What is wrong with a lock, a line each, and the names that the project needs of it."""
    versions = locked(text, environment)
    project = PYPROJECT["project"]
    groups = [
        project["dependencies"],
        *(project["optional-dependencies"][extra] for extra in ("dev", "peers", "workflow")),
    ]
    todo = [("stscq", requirement) for group in groups for requirement in group]
    todo += [("stscq builds with", requirement) for requirement in PYPROJECT["build-system"]["requires"]]
    wrong, seen, needed = [], set(), set()
    while todo:
        asker, line = todo.pop()
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        if name in OVERRIDDEN:
            continue
        needed.add(name)
        if name not in versions:
            wrong.append(f"{asker} needs {line}: not locked")
        elif not requirement.specifier.contains(versions[name], prereleases=True):
            wrong.append(f"{asker} needs {line}: locked is {versions[name]}")
        elif (name, frozenset(requirement.extras)) not in seen:
            seen.add((name, frozenset(requirement.extras)))
            below = metadata[f"{name}=={versions[name]}"]
            todo += [(name, need) for need in below if holds(Requirement(need), environment, requirement.extras)]
    return sorted(set(wrong)), needed


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_lock_is_closed(variant, python):
    environment = markers(python, LINUX)
    wrong, needed = walk(lock_text(variant), environment, METADATA)
    assert not wrong
    assert needed == set(locked(lock_text(variant), environment)), "locked, but nothing needs it"


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_is_closed_on_a_mac(python):
    assert walk(lock_text("cpu"), markers(python, MACOS), METADATA)[0] == []


def test_a_missing_and_an_old_package_are_found():
    environment = markers("3.11", LINUX)
    text = lock_text("cuda")
    without = "\n".join(line for line in text.splitlines() if not line.startswith("nvidia-cudnn-cu13=="))
    assert any("torch needs nvidia-cudnn-cu13" in line for line in walk(without, environment, METADATA)[0])
    triton = next(line for line in text.splitlines() if line.startswith("triton=="))
    old = text.replace(triton, "triton==3.0.0 \\")
    assert any("locked is 3.0.0" in line for line in walk(old, environment, METADATA)[0])


def test_only_opencv_python_is_overridden():
    assert PYPROJECT["tool"]["uv"]["override-dependencies"] == [f"{k} ; {v}" for k, v in OVERRIDDEN.items()]
    assert set(PYPROJECT["tool"]["uv"]) == {"override-dependencies", "environments"}


def test_every_locked_file_has_a_hash():
    for name in ("common", "uv", *VARIANTS):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        pins = [i for i, line in enumerate(lines) if line[0].isalnum()]
        assert pins
        assert all("==" in lines[i] and lines[i + 1].startswith("    --hash=sha256:") for i in pins)


def test_variants_and_torch():
    """No CUDA, CUDA 13 and CUDA 12; all else has the same version everywhere."""
    found = {variant: locked(lock_text(variant), markers("3.11", LINUX)) for variant in VARIANTS}
    assert not any(name.startswith(("nvidia-", "triton")) for name in found["cpu"])
    assert "nvidia-cudnn-cu13" in found["cuda"]
    assert "nvidia-cudnn-cu12" in found["cuda12"]
    same = set(found["cpu"]) - {"torch"}
    assert all(found[variant][name] == found["cpu"][name] for variant in VARIANTS for name in same)


def test_metadata_is_what_is_installed():
    """metadata.json against the packages of this environment: it is read from the index, and may have aged."""
    installed = {canonicalize_name(one.name): one for one in importlib.metadata.distributions()}
    same = [pin for pin in METADATA if (one := installed.get(pin.split("==")[0])) and one.version == pin.split("==")[1]]
    assert len(same) > 100
    for pin in same:
        here = installed[pin.split("==")[0]].requires or []
        assert set(map(Requirement, here)) == set(map(Requirement, METADATA[pin])), pin
