"""Downloads that go on where they were cut, are checked before they are put in place, and are put in place at once.

An unfinished file waits in weights/.partial/. Hub files and plain URLs go on (stscq.download); hf_hub_download throws
an unfinished file away (2.4), and so does torch.hub's downloader. A pack comes by InsightFace's own downloader, which
always starts anew.
"""

import re
import shutil
import sys
from contextlib import redirect_stdout
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import get_hf_file_metadata, hf_hub_url

from stscq.download import FAILURES, download, in_one_line
from stscq.files import sha256_of_file
from stscq.weights.checksums import State, pin, record, state, sums_file
from stscq.weights.manifest import FOLDER, Hub, ModelPack, Shipped, Weight, WeightsError


class Announced(NamedTuple):
    """What the hub says of a file before it sends it: SHA-256, bytes."""

    sha256: str
    size: int | None


def fetch(root: Path, weight: Weight) -> str:
    """Makes root/weight.path the right file, and says how it got there. A file that is right is left alone.

    Raises WeightsError, in one line that says how to get the file by hand; then nothing new is in its place.
    """
    before = state(root, weight)
    if before is State.RIGHT:
        return "was there, verified"
    try:
        wanted, size = _expectation(root, weight)
        if before is State.UNPINNED and sha256_of_file(root / weight.path) == wanted:
            record(root, weight, wanted)
            return f"was there, agrees with the SHA-256 that the hub announces; now in {FOLDER}/SHA256SUMS"
        part = _partial(root, weight, wanted)
        _download(weight, part, size)
    except FAILURES as problem:
        raise WeightsError(f"{weight.path}: {in_one_line(problem)}. {by_hand(weight)}") from problem
    return _put_in_place(root, weight, part, wanted)


def _expectation(root: Path, weight: Weight) -> tuple[str, int | None]:
    """SHA-256 and size of the file to come. The hub is asked before anything is fetched: its file may have changed."""
    pinned = pin(root, weight)
    if isinstance(weight.source, Hub):
        announced = _announced(weight.source)
        if pinned and announced.sha256 != pinned:
            where = "the manifest" if weight.sha256 else f"{sums_file(root)} (delete its line to take the new file)"
            raise WeightsError(
                f"{weight.path}: refused: the hub has {announced.sha256}, not the SHA-256 {pinned} of {where}"
            )
        return announced.sha256, announced.size
    assert pinned, f"{weight.path}: only a hub announces hashes, so the manifest must pin this one"
    return pinned, weight.size


def _announced(source: Hub) -> Announced:
    metadata = get_hf_file_metadata(hf_hub_url(source.repo, source.file))
    if not re.fullmatch("[0-9a-f]{64}", metadata.etag or ""):
        raise OSError(f"the hub announces no SHA-256 for {source.file} of {source.repo}")
    return Announced(str(metadata.etag), metadata.size)


def _partial(root: Path, weight: Weight, wanted: str) -> Path:
    """Where the unfinished file waits; its name holds the hash, so that two versions of it are never mixed."""
    part = root / FOLDER / ".partial" / f"{Path(weight.path).name}.{wanted[:8]}"
    part.parent.mkdir(parents=True, exist_ok=True)
    return part


def _download(weight: Weight, part: Path, size: int | None) -> None:
    if isinstance(weight.source, Shipped):
        with as_file(files("stscq").joinpath(weight.source.file)) as file:
            shutil.copyfile(file, part)
    elif isinstance(weight.source, ModelPack):
        _from_pack(weight.source, part)
    elif isinstance(weight.source, Hub):
        download(hf_hub_url(weight.source.repo, weight.source.file), part, size)
    else:
        download(weight.source, part, size)


def _from_pack(source: ModelPack, part: Path) -> None:
    from insightface.utils import storage  # slow to import

    folder = part.with_name(source.pack)
    try:
        with redirect_stdout(sys.stderr):  # it reports what it does; our output is one line a file
            storage.download("", source.pack, force=True, root=str(part.parent))
        # antelopev2's archive has a folder around its files, buffalo_l's has none.
        found = sorted(folder.rglob(source.file))
        if not found:
            raise OSError(f"InsightFace's pack {source.pack} has no {source.file}")
        found[0].replace(part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        part.with_name(f"{source.pack}.zip").unlink(missing_ok=True)


def _put_in_place(root: Path, weight: Weight, part: Path, wanted: str) -> str:
    found = sha256_of_file(part)
    if found != wanted:
        part.unlink()
        raise WeightsError(f"{weight.path}: refused: what came has SHA-256 {found}, not {wanted}. {by_hand(weight)}")
    file = root / weight.path
    file.parent.mkdir(parents=True, exist_ok=True)
    if weight.sha256:
        part.replace(file)
        came = "copied from the package" if isinstance(weight.source, Shipped) else "downloaded"
        return f"{came}, agrees with the manifest's SHA-256"
    record(root, weight, wanted)  # first: a file without its pin would have to be checked against the hub again
    part.replace(file)
    return f"downloaded, agrees with the SHA-256 that the hub announces; now in {FOLDER}/SHA256SUMS"


def by_hand(weight: Weight) -> str:
    """How a person gets the file: where from, where to."""
    if isinstance(weight.source, Shipped):
        return f"It is {weight.source.file} of the package stscq, which is damaged: install it again"
    if isinstance(weight.source, ModelPack):
        from insightface.utils import storage

        archive = storage.model_zoo_download_url(f"{weight.source.pack}.zip")
        return f"By hand: take {weight.source.file} out of {archive}, put it at {weight.path}"
    url = hf_hub_url(weight.source.repo, weight.source.file) if isinstance(weight.source, Hub) else weight.source
    return f"By hand: put {url} at {weight.path}"
