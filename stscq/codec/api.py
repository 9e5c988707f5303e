"""The codec in Python.

    codec = Codec.load("models/demo/maskgit_vqgan/bundle/switchable_4x16/seed1")
    files = codec.encode(faces)          # N x S x S x 3 uint8 -> N files of some 35 bytes
    faces = codec.decode(files)          # and back

`Codec` is a model bundle that is ready to run. It reads each part of the bundle when it is first needed: encoding never
reads the decoder, and neither encoding by the router nor decoding reads a group that no image uses.

    images --quantise--> Assignment --payloads--> payloads --file_of--> files          (encode)
    images <-reconstruct- Assignment <--parse---- payloads <-payload_of- files         (decode)

Axes: N images of S x S pixels, T tokens, M groups.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stscq.backbones import Tokenizer
from stscq.codec.bitstream import image_file, payload
from stscq.codec.bitstream.entropy import DamagedPayloadError
from stscq.codec.bundle.description import Selection
from stscq.codec.bundle.groups import Groups
from stscq.codec.bundle.pulled import named_bundle
from stscq.codec.bundle.read import Bundle
from stscq.codec.effort import STEPS, Search, check_effort, refine, teacher
from stscq.codec.quantise import Quantiser, quantise_images
from stscq.data.tensors import to_float, to_uint8
from stscq.device import full_precision
from stscq.errors import BitstreamError, StscqError
from stscq.quantization.lookup import lookup
from stscq.quantization.router import Router
from stscq.quantization.search import Assignment, Prepared, normalise, prepare_codebooks

BATCH = 32


class ImageBytes(NamedTuple):
    """Bytes of each of N images: payloads fixed-length and range-coded, and the whole file, which holds the shorter."""

    fixed: np.ndarray
    coded: np.ndarray
    file: np.ndarray


class Codec:
    """A model bundle that is ready to run.

    Attributes: bundle (its sizes, fingerprint and files), device, alphabet (of its payloads), groups (M codebook groups
    of S x K x d; those that were not needed yet may lie in the file), effort (see `with_effort`).
    """

    def __init__(self, bundle: Bundle, device: torch.device):
        self.bundle = bundle
        self.device = device
        sizes = bundle.sizes
        self.alphabet = payload.Alphabet(
            sizes.T, sizes.token_entries, sizes.M, bundle.group_table(), bundle.image_tables
        )
        self.groups: Groups | Tensor = Groups(bundle, device)
        self.effort = 0
        self._prepared: Prepared | None = None

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> "Codec":
        """Open the bundle in a folder. Raises BundleError when it is missing or damaged."""
        return cls(Bundle(Path(path)), torch.device(device))

    @classmethod
    def from_pretrained(
        cls, name: Path | str, revision: str | None = None, device: torch.device | str = "cpu"
    ) -> "Codec":
        """Open the bundle in a folder or, where there is none, that of OWNER/NAME on the Hugging Face hub.

        revision: a branch, tag or commit of the repository; None is `main`. The hub is asked for what was not pulled
        before, and for nothing else. Raises BundleError when it cannot be had, is no bundle, or is damaged.
        """
        return cls.load(named_bundle(name, revision), device)

    def encode(self, images: np.ndarray | Sequence[np.ndarray], selection: Selection | None = None) -> list[bytes]:
        """Faces, aligned (N x S x S x 3 uint8 RGB, or a list of them), to one file each.

        selection: nn tries all groups, router asks the router; None is what the bundle prefers. An image's bytes do not
        depend on the others. Raises StscqError for images of another size or type, or router without a router.
        """
        return [self.file_of(p) for p in self.payloads(self.quantise(images, selection))]

    def decode(self, files: Sequence[bytes]) -> np.ndarray:
        """The faces in such files, N x S x S x 3 uint8.

        Raises BitstreamError when one is damaged (it says which), WrongModelError when another model wrote it.
        """
        if isinstance(files, bytes | bytearray | str):
            raise StscqError(f"files: {type(files).__name__}; give a list of files, [file] for one")
        payloads = []
        for number, file in enumerate(files):
            try:
                payloads.append(self.payload_of(file))
            except BitstreamError as problem:
                raise type(problem)(f"file {number}: {problem}") from problem
        try:
            return self.reconstruct(self.parse(payloads))
        except DamagedPayloadError as problem:
            raise BitstreamError(f"file {problem.number}: {problem}") from problem

    def quantise(
        self,
        images: np.ndarray | Sequence[np.ndarray],
        selection: Selection | None = None,
        rows: np.ndarray | None = None,
        z_e: Tensor | None = None,
    ) -> Assignment:
        """Images (or those in some rows of a store) to group (N) and indices (N x T), on the CPU.

        z_e: their latents (N x T x d) from `latents`, so that several selections or codebooks encode them once.
        """
        images = self._checked(images)
        rows = np.arange(len(images)) if rows is None else rows
        none = Assignment(torch.zeros(0, dtype=torch.int64), torch.zeros(0, self.bundle.sizes.T, dtype=torch.int64))
        parts = []
        with full_precision():
            quantiser = self.quantiser(selection)
            for i in range(0, len(rows), BATCH):
                batch = to_float(images[rows[i : i + BATCH]], self.device)
                known = None if z_e is None else z_e[i : i + BATCH].to(self.device)
                nearest = quantise_images(batch, self.encoder.encode, quantiser, known)
                parts.append(refine(batch, nearest, quantiser, self._search) if self.effort else nearest)
        parts = parts or [none]
        return Assignment(torch.cat([p.group for p in parts]).cpu(), torch.cat([p.index for p in parts]).cpu())

    @torch.no_grad()
    def latents(self, images: np.ndarray, rows: np.ndarray) -> Tensor:
        """z_e of the images in some rows of a store: N x T x d, on the device."""
        images = self._checked(images)
        with full_precision():
            parts = [
                self.encoder.encode(to_float(images[rows[i : i + BATCH]], self.device))
                for i in range(0, len(rows), BATCH)
            ]
        return torch.cat(parts)

    @torch.no_grad()
    def reconstruct(self, assignment: Assignment) -> np.ndarray:
        """Group (N) and indices (N x T) to images, N x S x S x 3 uint8."""
        S = self.bundle.sizes.image_size
        parts = [np.zeros((0, S, S, 3), np.uint8)]
        with full_precision():
            for i in range(0, len(assignment.group), BATCH):
                batch = Assignment(*(part[i : i + BATCH].to(self.device) for part in assignment))
                z_q = normalise(lookup(self.groups.__getitem__, batch), self.decoder.metric)
                parts.append(to_uint8(self.decoder.decode(z_q)))
        return np.concatenate(parts)

    def payloads(self, assignment: Assignment) -> list[bytes]:
        """Group (N) and indices (N x T) to a payload each: coded, or fixed-length where that is no longer."""
        return [payload.write(g, i, self.alphabet) for g, i in by_image(assignment)]

    def parse(self, payloads: Sequence[bytes]) -> Assignment:
        """The inverse of `payloads`. Raises DamagedPayloadError, a BitstreamError, which has the number of the first
        that is damaged."""
        return Assignment(*map(torch.from_numpy, payload.read_all(payloads, self.alphabet)))

    def file_of(self, content: bytes) -> bytes:
        """A payload as the file of one image."""
        return image_file.write(self.bundle.fingerprint, content)

    def payload_of(self, file: bytes) -> bytes:
        """The inverse of `file_of`. Raises BitstreamError or WrongModelError."""
        return image_file.read(file, self.bundle.fingerprint)

    def sizes(self, assignment: Assignment, payloads: Sequence[bytes] | None = None) -> ImageBytes:
        """The sizes of these images in bytes. payloads: theirs, where they are at hand, which saves coding them."""
        fixed, sizes = self.alphabet.fixed_bytes, []
        payloads = self.payloads(assignment) if payloads is None else payloads
        for (group, index), written in zip(by_image(assignment), payloads, strict=True):
            coded = written if len(written) < fixed else payload.coded(group, index, self.alphabet)
            sizes.append([fixed, len(coded), len(self.file_of(written))])
        return ImageBytes(*np.array(sizes, np.int64).reshape(-1, 3).T)

    def quantiser(self, selection: Selection | None = None) -> Quantiser:
        """How latents become symbols. Raises StscqError for router without a router."""
        selection = selection or self.bundle.selection
        if selection not in ("nn", "router"):
            raise StscqError(f"selection {selection!r} is neither nn nor router")
        if selection == "router" and self.router is None:
            raise StscqError(f"{self.bundle.folder}: selection router needs a router, and this model has none; use nn")
        whole = selection == "nn" or self.bundle.sizes.entries is not None
        groups = self.all_codebooks if whole else self.groups
        return Quantiser(self.encoder.metric, self._prepare(groups), self.router if selection == "router" else None)

    @property
    def all_codebooks(self) -> Tensor:
        """M x S x K x d, read as a whole when it is first asked for, and kept."""
        if not isinstance(self.groups, Tensor):
            self.groups = self.groups.together()
        return self.groups

    def _prepare(self, groups: Groups | Tensor) -> Prepared:
        """The codebooks with their norms, which are computed once."""
        if self._prepared is None or self._prepared.groups is not groups:
            self._prepared = prepare_codebooks(groups, self.encoder.metric, self.bundle.sizes.entries)
        return self._prepared

    def with_codebooks(self, codebooks: Tensor) -> "Codec":
        """The same model with other codebooks (M x S x K x d), such as rounded ones. Its files stay compatible in form,
        and their fingerprint is still that of the bundle."""
        other = Codec(self.bundle, self.device)
        other.groups = codebooks.to(self.device)
        return other

    def with_effort(self, effort: int) -> "Codec":
        """The same model; encoding looks longer, the more the higher `effort` is (0 to 9), for entries whose decoded
        picture shows the person. Any program reads the files. An image's bytes still do not depend on the others, but
        another machine, whose sums of floats differ in their last bits, may choose other entries. Raises StscqError.
        """
        check_effort(effort)
        other = Codec(self.bundle, self.device)
        other.groups, other.effort = self.groups, effort
        return other

    @cached_property
    def _search(self) -> Search:
        """With the decoder, whose weights only effort needs when encoding."""
        metric = self.decoder.metric
        return Search(
            self.encoder.encode,
            self.decoder.decode,
            lambda assignment: normalise(lookup(self.groups.__getitem__, assignment), metric),
            teacher(self.device),
            STEPS[self.effort],
        )

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

    def _checked(self, images: np.ndarray | Sequence[np.ndarray]) -> np.ndarray:
        """As one array; a memory-mapped one stays where it is. Raises StscqError for another size or type."""
        S = self.bundle.sizes.image_size
        takes = f"this model takes uint8 N x {S} x {S} x 3"
        if isinstance(images, Sequence) and not len(images):
            return np.zeros((0, S, S, 3), np.uint8)
        try:
            array = np.asarray(images)
        except ValueError as problem:  # of different sizes
            raise StscqError(f"images: {problem}; {takes}") from problem
        if array.dtype != np.uint8 or array.shape[1:] != (S, S, 3):
            raise StscqError(f"images: {array.dtype} {array.shape}; {takes}")
        return array


def by_image(assignment: Assignment) -> Iterator[tuple[int, np.ndarray]]:
    """Group and indices (T), image by image."""
    return zip(assignment.group.tolist(), assignment.index.numpy(), strict=True)
