"""A model bundle: a folder with all that compressing and decompressing need, and no pickle.

    bundle.json             sizes, model arguments, size and SHA-256 of every other file, fingerprint
    encoder.safetensors     what turns images into latents
    decoder.safetensors     what turns entries into images
    codebooks.safetensors   one tensor a group (S x K x d, or sum of K_j x d where tokens have K_j entries), so that a
                            program reads only the groups it needs
    router.safetensors      the router; no tensors where there is none
    tables.safetensors      the symbol statistics: `group` (M) and one tensor a group (T x K, or sum of K_j), each
                            number less 1
    context.safetensors     how they follow the tokens before: `read`, `write`, `shift`, and each group's features
    card.json, card.md      where it comes from and what it can do; not part of the fingerprint

Axes: M groups, T tokens, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels,
f features of an entry, r numbers of state.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stscq.backbones import Tokenizer, build
from stscq.backbones.base import fast_layout
from stscq.codec.bitstream.context import MOST_FEATURES, MOST_SHIFT, MOST_STATE, Context, ImageTables
from stscq.codec.bitstream.symbol_tables import TOTAL
from stscq.codec.bundle.description import FORMAT, READ, UNEQUAL_FORMAT, BundleSizes, problems, read_json, seal
from stscq.errors import BundleError
from stscq.files import check_permission
from stscq.quantization.router import Router

Part = Literal["encoder", "decoder"]
CACHED = 16
"""Number of groups whose tables are kept in memory."""


def group_name(group: int) -> str:
    """The name of a group's tensor in codebooks.safetensors, tables.safetensors and context.safetensors."""
    return f"group.{group:05d}"


def split_tokenizer(tokenizer: Tokenizer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tensors of a tokenizer: the encoder's, and all others."""
    encoder = {id(parameter) for parameter in tokenizer.encoder_parameters()}
    sides: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    for name, tensor in tokenizer.state_dict(keep_vars=True).items():
        sides[id(tensor) not in encoder][name] = tensor
    return sides


def floats(tensors: dict[str, Tensor]) -> bool:
    """Whether all are float32, as bundles have them: other numbers would end in an error of torch's somewhere."""
    return all(tensor.dtype == torch.float32 for tensor in tensors.values())


class Bundle:
    """An open bundle: its sizes, and its parts as they are asked for.

    Attributes: folder, name, sizes, selection (its preferred one), fingerprint (32 bytes),
    description (bundle.json).
    """

    def __init__(self, folder: Path):
        """Reads bundle.json and looks at the sizes of the other files. Raises BundleError when something is wrong."""
        self.folder = folder
        self.description = read_json(folder / "bundle.json")
        try:
            if self.description["format"] not in (FORMAT, UNEQUAL_FORMAT):
                raise BundleError(f"{folder}: format {self.description['format']!r}; {READ}")
            fields = BundleSizes._fields if self.description["format"] == UNEQUAL_FORMAT else BundleSizes._fields[:-1]
            self.sizes = BundleSizes(*(self.description[key] for key in fields))
            self.fingerprint = bytes.fromhex(self.description["fingerprint"])
            self.name, self.selection = str(self.description["name"]), self.description["selection"]
            self.files: dict[str, dict[str, Any]] = dict(self.description["files"])
            problem = next(problems(self.description, self.sizes, folder), None)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise BundleError(
                f"{folder}/bundle.json: not the description of a model ({error!r}); export it again"
            ) from error
        if problem is not None:
            raise BundleError(f"{folder}: {problem}; export it again")
        self.token_tables = lru_cache(maxsize=CACHED)(self.read_token_tables)
        self.features = lru_cache(maxsize=CACHED)(self.read_features)

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
        tensors = self._tensors(part)
        if {k: v.shape for k, v in wanted.items()} != {k: v.shape for k, v in tensors.items()} or not floats(tensors):
            raise BundleError(f"{self.folder}/{part}.safetensors: not the weights of this model; export it again")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise BundleError(f"{self.folder}/{part}.safetensors: weights that are no finite numbers; export it again")
        tokenizer.load_state_dict({k: v.to(device) for k, v in tensors.items()}, strict=False, assign=True)
        fast_layout(tokenizer)

    def router(self, device: torch.device) -> Router | None:
        """None when there is one group, or groups were trained without a router."""
        if self.sizes.router_rank is None:
            return None
        with torch.device("meta"):  # no memory for sizes that the file may not have
            router = Router(self.sizes.M, self.sizes.T, self.sizes.d, self.sizes.router_rank)
        tensors = self._tensors("router")
        try:
            router.load_state_dict(tensors, assign=True)
        except RuntimeError as problem:
            raise BundleError(f"{self.folder}/router.safetensors: not the router of this model") from problem
        if not floats(tensors):
            raise BundleError(f"{self.folder}/router.safetensors: not the router of this model")
        return router.requires_grad_(False).to(device)

    def codebook(self, group: int) -> Tensor:
        """S x K x d of one group, zeros behind the last entry of a token that has fewer; no other group is read."""
        entries = self._padded(self._tensor("codebooks", group_name(group)))
        shape = (1 if self.sizes.shared else self.sizes.T, self.sizes.K, self.sizes.d)
        if entries.shape != shape or not floats({"": entries}):
            raise BundleError(f"{self.folder}/codebooks.safetensors: group {group} has another shape than the model")
        if not entries.isfinite().all():
            raise BundleError(
                f"{self.folder}/codebooks.safetensors: group {group} has entries that are no finite numbers"
            )
        return entries

    def group_table(self) -> np.ndarray:
        """M integers that sum to TOTAL."""
        return self._table("group", (self.sizes.M,))

    def read_token_tables(self, group: int) -> np.ndarray:
        """T x K integers of one group, 0 where there is no entry; `token_tables` remembers the last ones."""
        return self._table(group_name(group), (self.sizes.T, self.sizes.K), self._padded)

    @cached_property
    def context(self) -> Context:
        """How a token's table follows the tokens before it."""
        read, write, shift = (self._tensor("context", name) for name in ("read", "write", "shift"))
        f, r = (*read.shape, 0, 0, 0)[1:3]
        fits = read.shape == (self.sizes.T, f, r) and write.shape == (self.sizes.T, r, f) and shift.shape == (1,)
        fits = fits and {tensor.dtype for tensor in (read, write, shift)} == {torch.int16}
        if not (fits and f <= MOST_FEATURES and r <= MOST_STATE and 0 <= int(shift) <= MOST_SHIFT):
            raise BundleError(f"{self.folder}/context.safetensors: no context of this model; export it again")
        return Context(read.to(torch.float64).numpy(), write.to(torch.float64).numpy(), int(shift))

    def read_features(self, group: int) -> np.ndarray:
        """T x K x f int8 of one group's entries; `features` remembers the last ones."""
        shape = (self.sizes.T, self.sizes.K, self.context.read.shape[1])
        if self.context.read.shape[2] == 0:
            return np.zeros(shape, np.int8)
        features = self._padded(self._tensor("context", group_name(group)))
        if features.shape != shape or features.dtype != torch.int8:
            raise BundleError(f"{self.folder}/context.safetensors: features of group {group} do not fit the model")
        return features.numpy()

    def image_tables(self, group: int) -> ImageTables:
        """The tables of one image of a group."""
        return ImageTables(self.context, self.token_tables(group), self.features(group))

    def _padded(self, stored: Tensor) -> Tensor:
        """T x K x ... of what is stored of each entry; where tokens have K_j of them, that is sum of K_j x ..."""
        if self.sizes.entries is None or stored.ndim == 0 or len(stored) != sum(self.sizes.entries):
            return stored
        return torch.nn.utils.rnn.pad_sequence(list(stored.split(self.sizes.entries)), batch_first=True)

    def _table(
        self, name: str, shape: tuple[int, ...], padded: Callable[[Tensor], Tensor] = lambda table: table
    ) -> np.ndarray:
        stored = self._tensor("tables", name)
        table = padded(stored.to(torch.int64) + 1).numpy()
        if stored.dtype != torch.uint16 or table.shape != shape or (table.sum(-1) != TOTAL).any():
            raise BundleError(f"{self.folder}/tables.safetensors: {name} is no table of this model; export it again")
        return table

    def _tensors(self, part: str) -> dict[str, Tensor]:
        try:
            with safe_open(self.folder / f"{part}.safetensors", framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as problem:
            check_permission(self.folder / f"{part}.safetensors", BundleError)
            raise BundleError(f"{self.folder}/{part}.safetensors: missing or damaged ({problem})") from problem

    def _tensor(self, part: str, name: str) -> Tensor:
        try:
            with safe_open(self.folder / f"{part}.safetensors", framework="pt") as file:
                return file.get_tensor(name)
        except (OSError, SafetensorError) as problem:
            check_permission(self.folder / f"{part}.safetensors", BundleError)
            raise BundleError(f"{self.folder}/{part}.safetensors: {name} missing or damaged ({problem})") from problem
