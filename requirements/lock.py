"""Writes the locks beside this file from pyproject.toml and the .in files, with uv: `make lock`.

Versions stay as they are while the ranges allow it; `make lock UPGRADE=1` takes the newest. What all variants share is
in common.txt, what differs (torch and what it brings) in the variant's own file. metadata.json holds what each locked
package requires, as its wheel says, for tests/test_lock.py.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.parser import Parser
from importlib.metadata import requires, version
from pathlib import Path
from urllib.parse import unquote

from install import HERE, VARIANTS, torch_on_disk, uv_pip

HEADER = "# Written by `make lock` for Python 3.11 to 3.13 on Linux x86-64 and macOS arm64. Do not edit.\n"
LIMITS = "python_full_version < '3.14' and implementation_name == 'cpython' and "
"""How uv writes what the environments in pyproject.toml share."""
COMPILE = ["--quiet", "--universal", "--python-version", "3.11", "--fork-strategy", "fewest", "--no-header"]


def entries(text: str) -> list[str]:
    """The packages of a lock, each with its hashes and comments."""
    found: list[str] = []
    for line in text.splitlines(keepends=True):
        if line[0].isalnum():
            found.append(line)
        elif found:
            found[-1] += line
    return found


def without_scope(lock: list[str]) -> list[str]:
    """The same without the marker that most packages have: it says no more than HEADER."""
    markers = Counter(entry.split(" \\")[0].partition(" ; ")[2] for entry in lock)
    scope = f" ; {markers.most_common(1)[0][0]}"
    return [entry.replace(scope + " \\", " \\").replace(LIMITS, "") for entry in lock]


def compiled(uv: list[str], environment: dict[str, str], sources: list[str], out: Path, *options: str) -> str:
    """What uv resolves for `sources`; where `out` is there, the versions and hashes in it stay."""
    subprocess.run([*uv, *sources, *COMPILE, *options, "-o", str(out)], check=True, env=environment, cwd=HERE.parent)
    return out.read_text()


class Remote(io.RawIOBase):
    """A file on an index, read by pieces: a wheel's METADATA is a few kilobytes of up to gigabytes."""

    def __init__(self, url: str, size: int):
        self.url, self.size, self.at = url, size, 0

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def tell(self) -> int:
        return self.at

    def read(self, count: int = -1) -> bytes:
        end = self.size if count < 0 else min(self.at + count, self.size)
        if end <= self.at:
            return b""
        wanted = urllib.request.Request(self.url, headers={"Range": f"bytes={self.at}-{end - 1}"})
        with urllib.request.urlopen(wanted) as answer:
            data = answer.read(end - self.at)
        self.at += len(data)
        return data


def needs(package: dict) -> list[str]:
    """The Requires-Dist of a package of a pylock; of one that has no wheel, as it is installed here."""
    if "wheels" not in package:
        if version(package["name"]) != package["version"]:
            raise SystemExit(f"{package['name']}: make environment first, then make lock again")
        return sorted(requires(package["name"]) or [])
    wheel = package["wheels"][0]
    path = wheel.get("path") or unquote(wheel["url"].removeprefix("file://"))
    with zipfile.ZipFile(path if Path(path).exists() else Remote(wheel["url"], wheel["size"])) as file:
        name = next(name for name in file.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1)
        return sorted(Parser().parsestr(file.read(name).decode()).get_all("Requires-Dist") or [])


def write_metadata(packages: dict[str, dict]) -> None:
    """metadata.json for these packages of a pylock; what a version needs never changes: only new ones are read."""
    path = HERE / "metadata.json"
    metadata = json.loads(path.read_text()) if path.exists() else {}
    new = [pin for pin in packages if pin not in metadata]
    with ThreadPoolExecutor(16) as pool:
        metadata |= zip(new, pool.map(needs, [packages[pin] for pin in new]), strict=True)
    path.write_text(json.dumps({pin: metadata[pin] for pin in packages}, indent=0, sort_keys=True) + "\n")


def main(options: list[str]) -> None:
    install, environment = uv_pip(Path(sys.executable))
    on_disk = torch_on_disk(install, environment)
    uv = [install[0], "pip", "compile"]
    locks: dict[str, list[str]] = {}
    packages: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for variant in VARIANTS:
            # A CPU build among the configured wheels would also be a torch==2.13.0.
            local = environment if variant == "cpu" else {**environment, "UV_FIND_LINKS": ""}
            sources = ["pyproject.toml", f"requirements/{variant}.in", "--extra", "dev", "--extra", "peers"]
            sources += ["--extra", "workflow"]
            backend = ["--torch-backend", "cpu"] if variant == "cpu" and not on_disk else []
            out = Path(folder) / f"{variant}.txt"
            before = [HERE / "common.txt", HERE / f"{variant}.txt"]
            out.write_text("".join(path.read_text() for path in before if path.exists()))
            text = compiled(uv, local, [*sources, *backend], out, "--generate-hashes", *options)
            locks[variant] = without_scope(entries(text))
            pins = Path(folder) / f"{variant}.pins.txt"
            pins.write_text("".join(entry.split(" \\")[0] + "\n" for entry in entries(text)))
            pylock = Path(folder) / f"pylock.{variant}.toml"
            found = compiled(uv, local, [str(pins), *backend], pylock, "--no-deps", "--format", "pylock.toml")
            packages |= {f"{p['name']}=={p['version']}": p for p in tomllib.loads(found)["packages"]}
        uv_lock = compiled(uv, environment, ["requirements/uv.in"], HERE / "uv.txt", "--generate-hashes", *options)
    (HERE / "uv.txt").write_text(HEADER + "".join(without_scope(entries(uv_lock))))
    common = [entry for entry in locks["cpu"] if all(entry in lock for lock in locks.values())]
    (HERE / "common.txt").write_text(HEADER + "".join(common))
    for variant, lock in locks.items():
        (HERE / f"{variant}.txt").write_text(HEADER + "".join(entry for entry in lock if entry not in common))
    write_metadata(packages)


if __name__ == "__main__":
    main(sys.argv[1:])
