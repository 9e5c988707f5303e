"""A fingerprint of the code that a module runs: of itself and of all modules of this package that it imports.

A real edit changes the fingerprints of the rules that run it; comments, docstrings and layout change none.
"""

import ast
import hashlib
import json
import sqlite3
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import NamedTuple

import stscq
from stscq.errors import StscqError

ROOT = Path(stscq.__file__).parent
RECORDING = "stscq.provenance"
DATA = (".yaml", ".json", ".csv", ".html", ".css")
OWN = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
"""Of this file."""
MEMORY = Path(".stscq") / "code.sqlite"
"""In the folder of the project. It may be deleted; then every module is parsed again."""


def code_fingerprint(module: str) -> str:
    """SHA-256 over the import closure of `module` (such as stscq.training.stage2) inside the package.

    Data files of the package that the code names (published.yaml) belong to it. Raises StscqError, naming file and
    line, when a module is missing or cannot be parsed.
    """
    digest = hashlib.sha256()
    for name in sorted(closure(module)):
        digest.update(f"{name} {essence(name)}\n".encode())
    return digest.hexdigest()


def closure(module: str) -> set[str]:
    """The module and all modules of the package that it imports, directly or not; imports inside functions count.

    Modules that keep the records themselves are left out: they do not change what is computed.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and not name.startswith(RECORDING):
            found.add(name)
            waiting += imports(name)
    return found


def source_file(module: str) -> Path | None:
    """The file of a module; None when there is no such module (an imported name may be a function).

    By its place, not by importlib, which would import torch to find what lies beside it.
    """
    place = ROOT.parent.joinpath(*module.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


class Facts(NamedTuple):
    """What of a module counts: names that it imports, strings in it that may name data files, and a digest of what it
    does, without comments, docstrings and layout."""

    imported: list[str]
    data: list[str]
    digest: str


@cache
def facts(module: str) -> Facts:
    """Remembered by the module's text: to parse the whole package takes a second of every run without work."""
    file = source_file(module)
    if file is None:
        raise StscqError(f"{module}: no such module; a rule names it")
    text = file.read_text(encoding="utf-8")
    # The digest depends on how this Python prints a tree, and on what this file takes from it.
    key = hashlib.sha256(f"{sys.version_info[:2]} {OWN} {text}".encode()).hexdigest()
    found = remembered().get(key)
    if found is not None:
        return Facts(*json.loads(found))
    made = facts_of(text, file)
    remembered()[key] = json.dumps(made)
    with closing(sqlite3.connect(MEMORY, timeout=60)) as database, database:
        database.execute("replace into facts values (?, ?)", (key, remembered()[key]))
    return made


@cache
def remembered() -> dict[str, str]:
    MEMORY.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(MEMORY, timeout=60)) as database, database:
        database.execute("create table if not exists facts (key text primary key, facts text)")
        return dict(database.execute("select key, facts from facts"))


def facts_of(text: str, file: Path) -> Facts:
    """Strings that stand alone (docstrings, also those of constants) are emptied."""
    try:
        parsed = ast.parse(text, filename=str(file))
    except SyntaxError as problem:
        raise StscqError(f"{file}, line {problem.lineno}: {problem.msg}") from problem
    imported: set[str] = set()
    for node in ast.walk(parsed):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module)
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
    strings = {
        node.value for node in ast.walk(parsed) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    data = {name for name in strings if name.endswith(DATA) and Path(name).name == name}
    return Facts(sorted(imported), sorted(data), hashlib.sha256(ast.dump(parsed).encode()).hexdigest())


@cache
def imports(module: str) -> tuple[str, ...]:
    """What a module imports from the package; importing a.b.c runs a and a.b as well."""
    ours = {name for name in facts(module).imported if name.split(".")[0] == ROOT.name and source_file(name)}
    parents = {".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 1)}
    return tuple(sorted(ours | parents))


@cache
def essence(module: str) -> str:
    """SHA-256 of what a module does, and of the data files beside it that it names."""
    file = source_file(module)
    assert file is not None
    digest = hashlib.sha256(facts(module).digest.encode())
    for name in facts(module).data:
        if (file.parent / name).is_file():
            digest.update((file.parent / name).read_bytes())
    return digest.hexdigest()
