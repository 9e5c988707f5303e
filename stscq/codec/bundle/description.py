"""bundle.json, the description of a model bundle: sizes, files, fingerprint; and what may be wrong with it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from stscq.backbones import FAMILIES
from stscq.bits import payload_bits
from stscq.codec.bitstream.image_file import MAX_PAYLOAD
from stscq.codec.bitstream.symbol_tables import TOTAL
from stscq.errors import BundleError, StscqError

FORMAT, UNEQUAL_FORMAT = 2, 3
"""What this program reads; the second has `entries`, which a program that knows only the first would overlook."""
READ = f"this program reads {FORMAT} and {UNEQUAL_FORMAT}"
Selection = Literal["nn", "router"]
PARTS = ("encoder", "decoder", "codebooks", "router", "tables", "context")
MAX_SIZE = 1 << 20
"""Largest bundle.json in bytes, and largest size in it."""
MAX_DEPTH = 256
"""Largest number of layers or blocks of a model."""
MAX_PADDED = 1 << 28
"""Largest T K d of codebooks of unequal size: in memory every token has K entries, in the file K_j."""


class BundleSizes(NamedTuple):
    """The sizes of the model. model: the arguments of `stscq.backbones.build`; shared: one codebook for all tokens
    (S = 1); router_rank: None without a router; entries: how many of the K each token has (T), None where all
    have K."""

    model: dict[str, Any]
    image_size: int
    M: int
    T: int
    K: int
    d: int
    shared: bool
    router_rank: int | None
    entries: list[int] | None = None

    @property
    def token_entries(self) -> int | list[int]:
        """K, or K_j of each token."""
        return self.K if self.entries is None else self.entries

    @property
    def entries_told(self) -> str:
        """How many entries a token has, for readers: `256`, or `1 to 1024`."""
        return str(self.K) if self.entries is None else f"{min(self.entries)} to {self.K}"


def seal(folder: Path, part: str) -> dict[str, Any]:
    """Size and SHA-256 of a part's file."""
    file = folder / f"{part}.safetensors"
    with file.open("rb") as content:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(content, "sha256").hexdigest()}


def fingerprint_of(description: Mapping[str, Any]) -> str:
    """SHA-256 of what decides bits and pixels: bundle.json without fingerprint, name and preferred selection."""
    content = {key: value for key, value in description.items() if key not in ("fingerprint", "name", "selection")}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_json(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_SIZE:
            raise BundleError(f"{file}: more than {MAX_SIZE} bytes; not the description of a model")
        description = json.loads(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise BundleError(f"{file.parent}: not a model bundle ({problem.strerror}: {file.name})") from problem
    except (ValueError, RecursionError) as problem:
        raise BundleError(f"{file}: damaged ({problem}); export it again") from problem
    if not isinstance(description, dict):
        raise BundleError(f"{file}: damaged; export it again")
    return description


def problems(description: Mapping[str, Any], sizes: BundleSizes, folder: Path) -> Iterator[str]:
    """What is wrong with a description or with the files beside it, one message each."""
    if fingerprint_of(description) != description["fingerprint"]:
        yield "bundle.json was changed after the export"
    if sizes.model["family"] not in FAMILIES or description["selection"] not in get_args(Selection):
        yield "bundle.json is of another version"
    yield from size_problems(sizes)
    yield from file_problems(description["files"], folder)


def size_problems(sizes: BundleSizes) -> Iterator[str]:
    lists = [(name, value if isinstance(value, list) else [value]) for name, value in sizes.model.items()]
    inner = [(name, number) for name, values in lists for number in values if type(number) is int]
    plain = sizes._replace(router_rank=sizes.router_rank or 1, entries=None)._asdict()
    for name, number in [*plain.items(), *inner]:
        most = MAX_DEPTH if name in ("layers", "blocks", "pixel_blocks") else MAX_SIZE
        if name not in ("model", "shared", "entries") and (type(number) is not int or not 1 <= number <= most):
            yield f"{name} in bundle.json is not between 1 and {most}"
    unequal = list(entries_problems(sizes))
    yield from unequal
    if unequal:
        return
    if sizes.M == 1 and sizes.router_rank is not None:
        yield "bundle.json has a router for one group"
    try:
        if payload_bits(sizes.T, sizes.token_entries, sizes.M) > 8 * MAX_PAYLOAD:
            yield f"payloads of more than {MAX_PAYLOAD} bytes"
    except StscqError as problem:
        yield str(problem)
    if sizes.K > TOTAL // 2 or sizes.M > TOTAL // 2:
        yield f"more than {TOTAL // 2} groups or entries"
    if sizes.model.get("image_size", sizes.image_size) != sizes.image_size:
        yield "bundle.json names two image sizes"


def entries_problems(sizes: BundleSizes) -> Iterator[str]:
    if sizes.entries is None:
        return
    right = isinstance(sizes.entries, list) and all(type(number) is int for number in sizes.entries)
    if not right or len(sizes.entries) != sizes.T or sizes.shared or max(sizes.entries) != sizes.K:
        yield "entries in bundle.json are not a number for each token, the largest of them K"
    elif sizes.T * sizes.K * sizes.d > MAX_PADDED:
        yield f"T x K x d is more than {MAX_PADDED} in codebooks of unequal size"


def file_problems(files: Mapping[str, Mapping[str, Any]], folder: Path) -> Iterator[str]:
    if set(files) != {f"{part}.safetensors" for part in PARTS}:
        yield "bundle.json lists other files than a bundle has"
    for name in sorted(files):
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size != files[name]["bytes"]:
            yield f"{name} {'is missing' if size is None else 'has another size than when it was exported'}"
