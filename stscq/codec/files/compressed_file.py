"""A compressed file of either kind, opened: its images by number, name and payload."""

import hashlib
import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from stscq.codec.api import Codec
from stscq.codec.bitstream import image_file
from stscq.codec.bitstream.entropy import DamagedPayloadError
from stscq.codec.bundle.find import bundles_of
from stscq.codec.bundle.read import Bundle
from stscq.codec.files import archive
from stscq.codec.files.sources import STDIN, is_stream, read_stream
from stscq.errors import BitstreamError
from stscq.quantization.search import Assignment


class CompressedFile:
    """Attributes: path, kind (`image` or `archive`), model (the first bytes of a fingerprint), bytes, names."""

    def __init__(self, path: str):
        """Raises BitstreamError, naming the file, when it is missing, damaged or none of ours."""
        self.path = path
        try:
            file = io.BytesIO(read_stream(path)) if is_stream(path) else Path(path).open("rb")  # noqa: SIM115
            first = file.read(len(archive.MAGIC))
            file.seek(0)
            if first == archive.MAGIC:
                self.kind = "archive"
                self.archive: archive.Archive | None = archive.Archive(file)
                self.model, self.names, self.bytes = self.archive.model, self.archive.names, self.archive.bytes
            else:
                with file:
                    content = file.read(image_file.HEADER + image_file.MAX_PAYLOAD + 1)
                self.kind, self.archive = "image", None
                self.model, self.single = image_file.model_of(content), content
                self.names, self.bytes = ["stdin" if path == STDIN else Path(path).stem], len(content)
        except BitstreamError as problem:
            raise self.named(problem) from problem
        except OSError as problem:
            raise BitstreamError(f"{path}: {problem.strerror}") from problem

    def payload(self, number: int, fingerprint: bytes) -> bytes:
        """The payload of one image. fingerprint: the model's that wrote it. Raises BitstreamError when damaged."""
        if self.archive is None:
            return image_file.read(self.single, fingerprint)
        return self.archive.payload(number)

    def origin(self, bundle: Bundle, number: int) -> str:
        """A hash of model and payload, on which the picture of one image depends. Raises BitstreamError."""
        return hashlib.sha256(bundle.fingerprint + self.payload(number, bundle.fingerprint)).hexdigest()[:32]

    def check(self) -> None:
        """Compare every checksum of an archive, without the model. Raises BitstreamError, naming file and image."""
        assert self.archive is not None
        for number, name in enumerate(self.names):
            try:
                self.archive.payload(number)
            except BitstreamError as problem:
                raise BitstreamError(f"{self.path}: {name}: {problem}") from problem

    def lengths(self) -> list[int]:
        """Bytes of each payload."""
        if self.archive is None:
            return [len(self.single) - image_file.HEADER]
        return [int(size) for size in self.archive.lengths]

    def codec(self, model: Path | None) -> Codec:
        """The given bundle, or the one under models/ that wrote this file, ready to run. Raises as `bundle` does."""
        return Codec(self.bundle(model), torch.device("cpu"))

    def bundle(self, model: Path | None) -> Bundle:
        """The given bundle, or the one under models/ that wrote this file: where several fingerprints begin alike, the
        one with which the checksum of the file agrees.

        Raises WrongModelError, BundleError, or BitstreamError for one image that is damaged.
        """
        bundles = [Bundle(model)] if model else bundles_of(self.model)
        for bundle in bundles[:-1]:
            with suppress(BitstreamError):
                self.check_model(bundle)
                return bundle
        self.check_model(bundles[-1])
        return bundles[-1]

    def check_model(self, bundle: Bundle) -> None:
        """Raises WrongModelError, naming the file, when another bundle wrote it; BitstreamError for a damaged image."""
        try:
            if self.archive is None:
                image_file.read(self.single, bundle.fingerprint)
            image_file.check_model(self.model, bundle.fingerprint)
        except BitstreamError as problem:
            raise self.named(problem) from problem

    def symbols(self, codec: Codec, numbers: Sequence[int]) -> Assignment:
        """The symbols of these images. Raises BitstreamError, naming file and image, when one is damaged."""
        payloads = []
        for number in numbers:
            try:
                payloads.append(self.payload(number, codec.bundle.fingerprint))
            except BitstreamError as problem:
                raise BitstreamError(f"{self.path}: {self.names[number]}: {problem}") from problem
        try:
            return codec.parse(payloads)
        except DamagedPayloadError as problem:
            raise BitstreamError(f"{self.path}: {self.names[numbers[problem.number]]}: {problem}") from problem

    def named(self, problem: BitstreamError) -> BitstreamError:
        """The same error, which also names this file."""
        return type(problem)(f"{'standard input' if self.path == STDIN else self.path}: {problem}")
