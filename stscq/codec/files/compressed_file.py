"""A compressed file of either kind, open: its images by number, name and payload."""

import hashlib
import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch

from stscq.codec.api import Codec
from stscq.codec.bitstream import image_file
from stscq.codec.bundle.find import bundles_of
from stscq.codec.bundle.read import Bundle
from stscq.codec.files import archive
from stscq.codec.files.sources import STDIN
from stscq.errors import BitstreamError
from stscq.quantization.search import Assignment


class Opened:
    """Attributes: path, kind (`image` or `archive`), model (the first bytes of a fingerprint), bytes, names."""

    def __init__(self, path: str):
        """Raises BitstreamError, naming the file, when it is missing, damaged or none of ours."""
        self.path = path
        try:
            file = io.BytesIO(sys.stdin.buffer.read()) if path == STDIN else Path(path).open("rb")  # noqa: SIM115
            first = file.read(len(archive.MAGIC))
            file.seek(0)
            if first == archive.MAGIC:
                self.kind = "archive"
                self.archive: archive.Archive | None = archive.Archive(file)
                self.model, self.names, self.bytes = self.archive.model, self.archive.names, self.archive.bytes
            else:
                with file:
                    content = file.read(image_file.HEADER + image_file.MOST + 1)
                self.kind, self.archive = "image", None
                self.model, self.single = image_file.model_of(content), content
                self.names, self.bytes = ["stdin" if path == STDIN else Path(path).stem], len(content)
        except BitstreamError as problem:
            raise self.named(problem) from problem
        except OSError as problem:
            raise BitstreamError(f"{path}: {problem.strerror}") from problem

    def payload(self, number: int, fingerprint: bytes) -> bytes:
        """Of one image, written by the model with this fingerprint. Raises BitstreamError when it is damaged."""
        if self.archive is None:
            return image_file.read(self.single, fingerprint)
        return self.archive.payload(number)

    def origin(self, bundle: Bundle, number: int) -> str:
        """What decides the picture of one image: model and payload, as a hash. Raises BitstreamError."""
        return hashlib.sha256(bundle.fingerprint + self.payload(number, bundle.fingerprint)).hexdigest()[:32]

    def check(self) -> None:
        """Every checksum of an archive, without the model. Raises BitstreamError, naming file and image."""
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
        """The given bundle, or the one under models/ that wrote this file; of some that begin alike its checksum tells.

        Raises WrongModelError, BundleError, or BitstreamError for one image that is damaged.
        """
        found = [Bundle(model)] if model else bundles_of(self.model)
        for bundle in found[:-1]:
            with suppress(BitstreamError):
                self.check_model(bundle)
                return bundle
        self.check_model(found[-1])
        return found[-1]

    def check_model(self, bundle: Bundle) -> None:
        """Raises WrongModelError, naming the file, when another bundle wrote it; BitstreamError for a damaged image."""
        try:
            if self.archive is None:
                image_file.read(self.single, bundle.fingerprint)
            image_file.check_model(self.model, bundle.fingerprint)
        except BitstreamError as problem:
            raise self.named(problem) from problem

    def symbols(self, codec: Codec, numbers: Sequence[int]) -> Assignment:
        """Of these images. Raises BitstreamError, naming file and image, when one is damaged."""
        found = []
        for number in numbers:
            try:
                found.append(codec.parse([self.payload(number, codec.bundle.fingerprint)]))
            except BitstreamError as problem:
                raise BitstreamError(f"{self.path}: {self.names[number]}: {problem}") from problem
        return Assignment(torch.cat([one.group for one in found]), torch.cat([one.index for one in found]))

    def named(self, problem: BitstreamError) -> BitstreamError:
        return type(problem)(f"{'standard input' if self.path == STDIN else self.path}: {problem}")
