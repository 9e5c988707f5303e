"""The codec in Python.

    codec = Codec.load("models/demo/maskgit_vqgan/bundle/switchable_16x4/seed1")
    files = codec.encode(faces)          # N x S x S x 3 uint8 -> N files of some 20 bytes
    faces = codec.decode(files)          # and back

`Codec` is a model bundle that is ready to run. It reads each part of the bundle when it is first needed: encoding never
reads the decoder, and neither encoding by the router nor decoding reads a group that no image uses.

Axes: N images of S x S pixels, T tokens, M groups.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stscq.backbones import Tokenizer
from stscq.codec import bitstream, payload
from stscq.codec.assign import Quantiser, same_in_any_batch
from stscq.codec.bundle import Bundle
from stscq.codec.description import Selection
from stscq.codec.groups import Groups
from stscq.errors import BitstreamError, StscqError
from stscq.quantization.router import Router
from stscq.quantization.search import Assignment, Books, normalise
from stscq.training.batches import to_float, to_uint8

BATCH = 32


class Sizes(NamedTuple):
    """Bytes of each of N images: payloads fixed-length and range-coded, and the whole file, which holds the shorter."""

    fixed: np.ndarray
    coded: np.ndarray
    file: np.ndarray


class Codec:
    """A model bundle that is ready to run.

    Attributes: bundle (its sizes, fingerprint and files), device, alphabet (of its payloads), groups (M codebooks of
    S x K x d; those that were not needed yet may lie in the file).
    """

    def __init__(self, bundle: Bundle, device: torch.device):
        self.bundle = bundle
        self.device = device
        self.alphabet = payload.Alphabet(
            bundle.sizes.T, bundle.sizes.K, bundle.sizes.M, bundle.group_table(), bundle.reading
        )
        self.groups: Groups | Tensor = Groups(bundle, device)
        self._prepared: Books | None = None

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> "Codec":
        """Open the bundle in a folder. Raises BundleError when it is missing or damaged."""
        return cls(Bundle(Path(path)), torch.device(device))

    def encode(self, images: np.ndarray, selection: Selection | None = None) -> list[bytes]:
        """Faces, aligned (N x S x S x 3 uint8 RGB), to one file each.

        selection: nn tries all groups, router asks the router; None is what the bundle prefers. An image's bytes do not
        depend on the others. Raises StscqError for images of another size or type, or router without a router.
        """
        return [self.file_of(p) for p in self.payloads(self.assign(images, selection))]

    def decode(self, files: Sequence[bytes]) -> np.ndarray:
        """The faces in such files, N x S x S x 3 uint8.

        Raises BitstreamError when one is damaged (it says which), WrongModelError when another model wrote it.
        """
        found = []
        for number, file in enumerate(files):
            try:
                found.append(self.payload_of(file))
            except BitstreamError as problem:
                raise type(problem)(f"file {number}: {problem}") from problem
        return self.paint(self.parse(found))

    def assign(
        self, images: np.ndarray, selection: Selection | None = None, rows: np.ndarray | None = None
    ) -> Assignment:
        """Images (or those in some rows of a store) to group (N) and indices (N x T), on the CPU."""
        self._check(images)
        quantiser = self.quantiser(selection)
        rows = np.arange(len(images)) if rows is None else rows
        parts = []
        with full_precision():
            for i in range(0, len(rows), BATCH):
                batch = to_float(images[rows[i : i + BATCH]], self.device)
                parts.append(same_in_any_batch(batch, self.encoder.encode, quantiser))
        empty = Assignment(torch.zeros(0, dtype=torch.int64), torch.zeros(0, self.bundle.sizes.T, dtype=torch.int64))
        parts = parts or [empty]
        return Assignment(torch.cat([p.group for p in parts]).cpu(), torch.cat([p.index for p in parts]).cpu())

    @torch.no_grad()
    def paint(self, assignment: Assignment) -> np.ndarray:
        """Group (N) and indices (N x T) to images, N x S x S x 3 uint8."""
        S = self.bundle.sizes.image_size
        parts = [np.zeros((0, S, S, 3), np.uint8)]
        with full_precision():
            for i in range(0, len(assignment.group), BATCH):
                group, index = assignment.group[i : i + BATCH].to(self.device), assignment.index[i : i + BATCH]
                z_q = self._lookup(group, index.to(self.device))
                parts.append(to_uint8(self.decoder.decode(z_q)))
        return np.concatenate(parts)

    def payloads(self, assignment: Assignment) -> list[bytes]:
        """Group (N) and indices (N x T) to a payload each: coded, or fixed-length where that is no longer."""
        return [payload.write(g, i, self.alphabet) for g, i in by_image(assignment)]

    def parse(self, payloads: Sequence[bytes]) -> Assignment:
        """The inverse of `payloads`. Raises BitstreamError."""
        T = self.bundle.sizes.T
        found = [payload.read(p, self.alphabet) for p in payloads]
        index = np.array([index for _, index in found], np.int64).reshape(-1, T)
        return Assignment(torch.tensor([group for group, _ in found], dtype=torch.int64), torch.from_numpy(index))

    def file_of(self, content: bytes) -> bytes:
        """A payload as the file of one image."""
        return bitstream.write(self.bundle.fingerprint, content)

    def payload_of(self, file: bytes) -> bytes:
        """The inverse of `file_of`. Raises BitstreamError or WrongModelError."""
        return bitstream.read(file, self.bundle.fingerprint)

    def sizes(self, assignment: Assignment) -> Sizes:
        """What these images take, measured on the bytes themselves."""
        sizes = []
        for group, index in by_image(assignment):
            forms = [form(group, index, self.alphabet) for form in (payload.fixed, payload.coded)]
            sizes.append([*map(len, forms), len(self.file_of(min(forms, key=len)))])
        return Sizes(*np.array(sizes, np.int64).reshape(-1, 3).T)

    def quantiser(self, selection: Selection | None = None) -> Quantiser:
        """How latents become symbols. Raises StscqError for router without a router."""
        chosen = selection or self.bundle.selection
        if chosen not in ("nn", "router"):
            raise StscqError(f"selection {chosen!r} is neither nn nor router")
        if chosen == "router" and self.router is None:
            raise StscqError(f"{self.bundle.folder}: selection router needs a router, and this model has none; use nn")
        groups = self.all_books if chosen == "nn" else self.groups
        return Quantiser(self.encoder.metric, self._books(groups), self.router if chosen == "router" else None)

    @property
    def all_books(self) -> Tensor:
        """M x S x K x d, read as a whole when it is first asked for, and kept."""
        if not isinstance(self.groups, Tensor):
            self.groups = self.groups.together()
        return self.groups

    def _books(self, groups: Groups | Tensor) -> Books:
        """With norms that are computed once."""
        if self._prepared is None or self._prepared.groups is not groups:
            self._prepared = Books(groups, self.encoder.metric)
        return self._prepared

    def with_books(self, books: Tensor) -> "Codec":
        """The same model with other codebooks (M x S x K x d), such as rounded ones. Its files stay compatible in form,
        and their fingerprint is still that of the bundle."""
        other = Codec(self.bundle, self.device)
        other.groups = books.to(self.device)
        return other

    @cached_property
    def encoder(self) -> Tokenizer:
        """The tokenizer with the encoder's weights alone."""
        tokenizer = self.bundle.tokenizer()
        self.bundle.load_part(tokenizer, "encoder", self.device)
        return tokenizer

    @cached_property
    def decoder(self) -> Tokenizer:
        """The tokenizer with the decoder's weights alone."""
        tokenizer = self.bundle.tokenizer()
        self.bundle.load_part(tokenizer, "decoder", self.device)
        return tokenizer

    @cached_property
    def router(self) -> Router | None:
        return self.bundle.router(self.device)

    def _lookup(self, group: Tensor, index: Tensor) -> Tensor:
        """z_q, B x T x d, from the groups in use alone."""
        z_q = torch.empty(*index.shape, self.bundle.sizes.d, device=index.device)
        token = torch.arange(index.shape[1], device=index.device)
        for g in group.unique().tolist():
            book, here = self.groups[g], group == g
            z_q[here] = book[token % len(book), index[here]]
        return normalise(z_q, self.decoder.metric)

    def _check(self, images: np.ndarray) -> None:
        S = self.bundle.sizes.image_size
        if images.dtype != np.uint8 or images.shape[1:] != (S, S, 3):
            raise StscqError(f"images: {images.dtype} {images.shape}; this model takes uint8 N x {S} x {S} x 3")


def full_precision() -> AbstractContextManager[None]:
    """Convolutions on GPUs round to 10 bits otherwise, and indices would depend on the machine."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=False)  # type: ignore[no-any-return]


def by_image(assignment: Assignment) -> Iterator[tuple[int, np.ndarray]]:
    """Group and indices (T), image by image."""
    return zip(assignment.group.tolist(), assignment.index.numpy(), strict=True)
