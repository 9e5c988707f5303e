"""A model bundle: a folder with all that compressing and decompressing need, and no pickle.

    bundle.json             sizes, metric, model arguments, size and SHA-256 of every other file, fingerprint
    encoder.safetensors     what turns images into latents
    decoder.safetensors     what turns entries into images
    codebooks.safetensors   one tensor a group (S x K x d), so that a program reads only the groups it needs
    router.safetensors      only where there is a router
    tables.safetensors      the symbol statistics: `group` (M) and one tensor a group (T x K), each number less 1
    card.json, card.md      where it comes from and what it can do; not part of the fingerprint

Axes: M groups, T tokens, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stscq.backbones import FAMILIES, Tokenizer, build
from stscq.codec.packing import payload_bits
from stscq.codec.statistics import TOTAL, Tables, uniform
from stscq.errors import BundleError, StscqError
from stscq.quantization.router import Router
from stscq.training.checkpoint import save_tensors, write_atomically
from stscq.training.tokenizer_io import Codec as TrainedCodec
from stscq.training.tokenizer_io import fast_layout

FORMAT = 1
Selection = Literal["nn", "cr"]
Part = Literal["encoder", "decoder"]
TENSORS = ("encoder", "decoder", "codebooks", "router", "tables")
LARGEST = 1 << 20
"""Bytes of bundle.json that are read; and no size in it may be larger."""
DEEPEST = 256
"""Layers or blocks of a model."""
CACHED = 16
"""Groups whose tables are kept in memory."""


class Sizes(NamedTuple):
    """What bundle.json says of the model. shared: one codebook for all tokens (S = 1)."""

    model: dict[str, Any]
    image_size: int
    M: int
    T: int
    K: int
    d: int
    shared: bool
    router_rank: int | None


def group_name(group: int) -> str:
    """Of a group's tensor in codebooks.safetensors and tables.safetensors."""
    return f"group.{group:05d}"


def write_bundle(folder: Path, codec: TrainedCodec, model: dict[str, Any], image_size: int, name: str) -> str:
    """Write a bundle whose tables favour nothing, bundle.json last; returns its fingerprint.

    model: the arguments of `stscq.backbones.build`.
    """
    weight = codec.codebooks.weight.detach()
    M, S, K, d = weight.shape
    encoder, decoder = split_tokenizer(codec.tokenizer)
    tensors = {"encoder": encoder, "decoder": decoder, "codebooks": {group_name(i): weight[i] for i in range(M)}}
    if codec.router is not None:
        tensors["router"] = codec.router.state_dict()
    for file in ("bundle.json", "router.safetensors"):
        (folder / file).unlink(missing_ok=True)
    for part, content in tensors.items():
        save_tensors(content, folder / f"{part}.safetensors")
    sizes = Sizes(
        model, image_size, M, codec.tokenizer.T, K, d, S == 1, None if codec.router is None else len(codec.router.over_tokens)
    )
    said = {"format": FORMAT, **sizes._asdict(), "files": {f"{part}.safetensors": seal(folder, part) for part in tensors}}
    rest = {"name": name, "selection": "nn" if codec.router is None else "cr"}
    return write_tables(folder, uniform(M, codec.tokenizer.T, K), {**said, **rest})


def write_tables(folder: Path, tables: Tables, said: Mapping[str, Any]) -> str:
    """Write these tables into the bundle that `said`, its bundle.json, describes; returns the new fingerprint."""
    stored = {"group": as_stored(tables.group)}
    stored |= {group_name(i): as_stored(table) for i, table in enumerate(tables.tokens)}
    save_tensors(stored, folder / "tables.safetensors")
    said = {**said, "files": {**said["files"], "tables.safetensors": seal(folder, "tables")}}
    said["fingerprint"] = fingerprint_of(said)
    write_atomically(folder / "bundle.json", json.dumps(said, indent=1) + "\n")
    return said["fingerprint"]


def split_tokenizer(tokenizer: Tokenizer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Its tensors: the encoder's, and all others."""
    encoder = {id(parameter) for parameter in tokenizer.encoder_parameters()}
    sides: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for name, tensor in tokenizer.state_dict(keep_vars=True).items():
        sides[id(tensor) not in encoder][name] = tensor
    return sides


def as_stored(table: np.ndarray) -> Tensor:
    """1 to 65536 as 16 bits."""
    return torch.from_numpy((table - 1).astype(np.uint16))


def seal(folder: Path, part: str) -> dict[str, Any]:
    """Size and SHA-256 of a part's file."""
    file = folder / f"{part}.safetensors"
    with file.open("rb") as content:
        return {"bytes": file.stat().st_size, "sha256": hashlib.file_digest(content, "sha256").hexdigest()}


def fingerprint_of(said: Mapping[str, Any]) -> str:
    """SHA-256 of what decides bits and pixels: bundle.json without fingerprint, name and preferred selection."""
    content = {key: value for key, value in said.items() if key not in ("fingerprint", "name", "selection")}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class Bundle:
    """An open bundle: its sizes, and its parts as they are asked for.

    Attributes: folder, name, sizes, selection (its preferred one), fingerprint (32 bytes), said (bundle.json).
    """

    def __init__(self, folder: Path):
        """Reads bundle.json and looks at the sizes of the other files. Raises BundleError when something is wrong."""
        self.folder = folder
        self.said = read_json(folder / "bundle.json")
        try:
            if self.said["format"] != FORMAT:
                raise BundleError(f"{folder}: format {self.said['format']!r}; this program reads {FORMAT}")
            self.sizes = Sizes(*(self.said[key] for key in Sizes._fields))
            self.fingerprint = bytes.fromhex(self.said["fingerprint"])
            self.name, self.selection = str(self.said["name"]), self.said["selection"]
            self.files: dict[str, dict[str, Any]] = dict(self.said["files"])
            problem = next(problems(self), None)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BundleError(f"{folder}/bundle.json: not the description of a model ({error!r}); export it again") from error
        if problem is not None:
            raise BundleError(f"{folder}: {problem}; export it again")
        self.token_tables = lru_cache(maxsize=CACHED)(self.read_token_tables)

    def verify(self) -> None:
        """Reads every file. Raises BundleError, naming the file, when its content is not the one that was exported."""
        for file, seal_of in self.files.items():
            if seal(self.folder, Path(file).stem) != seal_of:
                raise BundleError(f"{self.folder / file}: not the content that was exported (SHA-256); export it again")

    def tokenizer(self) -> Tokenizer:
        """Without weights, without memory for them, and without a codebook: `load_part` brings what is needed."""
        try:
            with torch.device("meta"):
                tokenizer = build(**self.sizes.model)
                tokenizer.take_codebook()
        except Exception as problem:  # what the arguments of a model may do wrong is not for us to list
            raise BundleError(f"{self.folder}/bundle.json: no model has these arguments ({problem})") from problem
        if (tokenizer.T, tokenizer.d) != (self.sizes.T, self.sizes.d):
            raise BundleError(f"{self.folder}/bundle.json: T and d are not those of the model")
        return tokenizer.requires_grad_(False).eval()

    def load_part(self, tokenizer: Tokenizer, part: Part, device: torch.device) -> None:
        """Gives the encoder or the decoder of `tokenizer` its weights."""
        encoder, decoder = split_tokenizer(tokenizer)
        wanted = encoder if part == "encoder" else decoder
        found = self._tensors(part)
        if {k: v.shape for k, v in wanted.items()} != {k: v.shape for k, v in found.items()}:
            raise BundleError(f"{self.folder}/{part}.safetensors: not the weights of this model; export it again")
        tokenizer.load_state_dict({k: v.to(device) for k, v in found.items()}, strict=False, assign=True)
        fast_layout(tokenizer)

    def router(self, device: torch.device) -> Router | None:
        """None when there is one group, or groups were trained without a router."""
        if self.sizes.router_rank is None:
            return None
        router = Router(self.sizes.M, self.sizes.T, self.sizes.d, self.sizes.router_rank)
        try:
            router.load_state_dict(self._tensors("router"))
        except RuntimeError as problem:
            raise BundleError(f"{self.folder}/router.safetensors: not the router of this model") from problem
        return router.requires_grad_(False).to(device)

    def codebook(self, group: int) -> Tensor:
        """S x K x d of one group; no other group is read."""
        found = self._tensor("codebooks", group_name(group))
        if found.shape != (1 if self.sizes.shared else self.sizes.T, self.sizes.K, self.sizes.d):
            raise BundleError(f"{self.folder}/codebooks.safetensors: group {group} has another shape than the model")
        return found

    def group_table(self) -> np.ndarray:
        """M integers."""
        return self._table("group", (self.sizes.M,))

    def read_token_tables(self, group: int) -> np.ndarray:
        """T x K integers of one group; `token_tables` remembers the last ones."""
        return self._table(group_name(group), (self.sizes.T, self.sizes.K))

    def _table(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        table = self._tensor("tables", name).to(torch.int64).numpy() + 1
        if table.shape != shape or (table.sum(-1) != TOTAL).any():
            raise BundleError(f"{self.folder}/tables.safetensors: {name} is no table of this model; export it again")
        return table

    def _tensors(self, part: str) -> dict[str, Tensor]:
        try:
            with safe_open(self.folder / f"{part}.safetensors", framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as problem:
            raise BundleError(f"{self.folder}/{part}.safetensors: missing or damaged ({problem})") from problem

    def _tensor(self, part: str, name: str) -> Tensor:
        try:
            with safe_open(self.folder / f"{part}.safetensors", framework="pt") as file:
                return file.get_tensor(name)
        except (OSError, SafetensorError) as problem:
            raise BundleError(f"{self.folder}/{part}.safetensors: {name} missing or damaged ({problem})") from problem


def read_json(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST:
            raise BundleError(f"{file}: more than {LARGEST} bytes; not the description of a model")
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise BundleError(f"{file.parent}: not a model bundle ({problem.strerror}: {file.name})") from problem
    except (ValueError, RecursionError) as problem:
        raise BundleError(f"{file}: damaged ({problem}); export it again") from problem
    if not isinstance(found, dict):
        raise BundleError(f"{file}: damaged; export it again")
    return found


def problems(bundle: Bundle) -> Iterator[str]:
    """What is wrong with sizes and files, in words."""
    sizes = bundle.sizes
    if fingerprint_of(bundle.said) != bundle.said["fingerprint"]:
        yield "bundle.json was changed after the export"
    if sizes.model["family"] not in FAMILIES or bundle.selection not in get_args(Selection):
        yield "bundle.json is of another version"
    numbers = {name: value for name, value in sizes.model.items() if type(value) is int}
    for name, number in {**sizes._asdict(), **numbers, "router_rank": sizes.router_rank or 1}.items():
        most = DEEPEST if name in ("layers", "blocks", "pixel_blocks") else LARGEST
        if name not in ("model", "shared") and (type(number) is not int or not 1 <= number <= most):
            yield f"{name} in bundle.json is not between 1 and {most}"
    try:
        payload_bits(sizes.T, sizes.K, sizes.M)
    except StscqError as problem:
        yield str(problem)
    if sizes.K > TOTAL // 2 or sizes.M > TOTAL // 2:
        yield f"more than {TOTAL // 2} groups or entries"
    expected = {f"{part}.safetensors" for part in TENSORS if part != "router" or sizes.router_rank is not None}
    if set(bundle.files) != expected:
        yield "bundle.json lists other files than a bundle has"
    for file in sorted(expected):
        size = (bundle.folder / file).stat().st_size if (bundle.folder / file).is_file() else None
        if size != bundle.files[file]["bytes"]:
            yield f"{file} {'is missing' if size is None else 'has another size than when it was exported'}"
