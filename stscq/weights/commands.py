"""What `stscq weights list`, `get` and `verify` do and print."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from stscq.files import sha256_of_file
from stscq.params import read_params, with_profile
from stscq.weights.checksums import State, state, sums_file
from stscq.weights.manifest import Hub, ModelPack, Shipped, Weight, WeightsError, manifest, needed, select


def of_profile(folder: Path, profile: str | None) -> list[Weight]:
    """What `profile` needs, by folder/params.yaml and folder/config; the whole manifest without a profile."""
    if profile is None:
        return list(manifest().values())
    return needed(with_profile(read_params(folder), folder / "config", {"profile": profile}))


def show(folder: Path, profile: str | None) -> None:
    """Prints a table: file, what for, size, state, source."""
    weights = of_profile(folder, profile)
    rows = [[w.path, w.what, _size(folder, w), state(folder, w).value, _source(w)] for w in weights]
    if not rows:
        print(f"profile {profile} needs no published weights")
        return
    rows.insert(0, ["file", "what for", "size", "state", "source"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def get(folder: Path, profile: str | None, names: Sequence[str]) -> bool:
    """Downloads what is not there and right. One line a file; True when all is there and right."""
    from huggingface_hub.utils.logging import set_verbosity_error

    from stscq.weights.download import fetch  # its libraries are slow to import, and only needed here

    set_verbosity_error()  # it would report each of its attempts; the last one's error is reported here
    complete = True
    for weight in select(of_profile(folder, profile), names):
        try:
            print(f"{weight.path}: {fetch(folder, weight)}", flush=True)
        except WeightsError as problem:
            print(f"error: {problem}", file=sys.stderr, flush=True)
            complete = False
    return complete


def verify(folder: Path, profile: str | None, names: Sequence[str]) -> bool:
    """One line a file; True when all is there and right."""
    complete = True
    for weight in select(of_profile(folder, profile), names):
        found = state(folder, weight)
        print(f"{weight.path}: {found.value}{_advice(folder, weight, found)}", flush=True)
        complete &= found is State.RIGHT
    return complete


def _advice(folder: Path, weight: Weight, found: State) -> str:
    if found is State.RIGHT:
        return ""
    if found is not State.UNPINNED:
        return f"; run: stscq weights get {weight.name}"
    line = f"{sha256_of_file(folder / weight.path)}  {weight.name}"
    return (
        f"; run: stscq weights get {weight.name} (asks the hub), or compare with the SHA-256 that the hub shows for "
        f"{_source(weight)} and add the line '{line}' to {sums_file(folder)}"
    )


def _size(folder: Path, weight: Weight) -> str:
    file = folder / weight.path
    size = weight.size or (file.stat().st_size if file.is_file() else None)
    return "?" if size is None else f"{tqdm.format_sizeof(size, divisor=1000)}B"


def _source(weight: Weight) -> str:
    if isinstance(weight.source, Hub):
        return f"hub {weight.source.repo} {weight.source.file}"
    if isinstance(weight.source, Shipped):
        return f"this package, {weight.source.file}"
    if isinstance(weight.source, ModelPack):
        return f"InsightFace {weight.source.pack} {weight.source.file}"
    return weight.source
