"""A fingerprint of the code that a module runs: of itself and of all modules of this package that it imports.

A real edit changes the fingerprints of the rules that run it; comments, docstrings and layout change none.
"""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import stscq
from stscq.errors import StscqError

ROOT = Path(stscq.__file__).parent
RECORDING = "stscq.provenance"


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


@cache
def tree(module: str) -> ast.Module:
    """What a module does: strings that stand alone (docstrings, also those of constants) are emptied."""
    file = source_file(module)
    if file is None:
        raise StscqError(f"{module}: no such module; a rule names it")
    try:
        parsed = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    except SyntaxError as problem:
        raise StscqError(f"{file}, line {problem.lineno}: {problem.msg}") from problem
    for node in ast.walk(parsed):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value.value = ""
    return parsed


@cache
def imports(module: str) -> tuple[str, ...]:
    """What a module imports from the package; importing a.b.c runs a and a.b as well."""
    names: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in names if name.split(".")[0] == ROOT.name and source_file(name)}
    parents = {".".join(name.split(".")[:depth]) for name in ours for depth in range(1, name.count(".") + 1)}
    return tuple(sorted(ours | parents))


@cache
def essence(module: str) -> str:
    """SHA-256 of a module without comments, docstrings and layout, and of the data files that it names."""
    digest = hashlib.sha256(ast.dump(tree(module)).encode())
    for data in data_files(module):
        digest.update(data.read_bytes())
    return digest.hexdigest()


def data_files(module: str) -> Iterator[Path]:
    """Files beside a module (or in the package's root) whose names stand in its code as strings."""
    file = source_file(module)
    assert file is not None
    names = {node.value for node in ast.walk(tree(module)) if isinstance(node, ast.Constant)}
    for name in sorted(
        name for name in names if isinstance(name, str) and name.endswith((".yaml", ".json", ".csv", ".html", ".css"))
    ):
        if (file.parent / name).is_file() and Path(name).name == name:
            yield file.parent / name
