"""`stscq inspect` and `stscq verify`: what is in a compressed file, and whether it is whole."""

from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from stscq.bits import payload_bits
from stscq.codec.api import BATCH
from stscq.codec.bitstream import image_file
from stscq.codec.bundle.read import Bundle
from stscq.codec.files import archive
from stscq.codec.files.compressed_file import CompressedFile
from stscq.errors import BundleError


def describe(file: str, model: Path | None, names: bool = False) -> dict[str, Any]:
    """A description for people and programs; nothing is decoded, and the model is needed only for what it alone knows
    (and for the checksum of a file of one image).

    Raises BitstreamError, naming the file, when header or index are damaged.
    """
    compressed = CompressedFile(file)
    lengths = np.array(compressed.lengths(), np.int64)
    facts: dict[str, Any] = {
        "file": file,
        "kind": compressed.kind,
        "images": len(lengths),
        "model": compressed.model.hex(),
        "bytes": compressed.bytes,
        "payload bytes": int(lengths.sum()),
        "payload bytes an image": round(float(lengths.mean()), 2) if len(lengths) else None,
    }
    if compressed.archive is None:
        facts["header bytes"] = image_file.HEADER
    else:
        facts["checksum bytes"] = archive.CHECK * len(lengths)
        facts["index bytes"] = compressed.archive.index_bytes
        facts["header and footer bytes"] = archive.HEADER.size + archive.FOOTER.size
    facts |= model_facts(compressed, lengths, model)
    if names:
        facts["names"] = compressed.names
    return facts


def model_facts(compressed: CompressedFile, lengths: np.ndarray, model: Path | None) -> dict[str, Any]:
    """Facts that the model holds and the file does not; `bundle: None` when none was named and it is not here."""
    try:
        bundle = compressed.bundle(model)
    except BundleError:
        if model is not None:
            raise
        return {"bundle": None}
    sizes = bundle.sizes
    fixed = ceil(payload_bits(sizes.T, sizes.token_entries, sizes.M) / 8)
    return {
        "bundle": str(bundle.folder),
        "name": bundle.name,
        "pixels": f"{sizes.image_size} x {sizes.image_size}",
        "symbols": f"{sizes.T} tokens of {sizes.entries_told} entries, {sizes.M} groups",
        "fixed-length payload bytes": fixed,
        "range-coded images": int((lengths < fixed).sum()),
        "bits a pixel": round(8 * compressed.bytes / max(1, len(lengths)) / sizes.image_size**2, 5),
    }


def verify(path: str, model: Path | None) -> dict[str, Any]:
    """A bundle: every file by SHA-256. A compressed file: every checksum, and with its model every symbol;
    a file of one image has nothing to check without its model.

    Raises BundleError or BitstreamError, naming the file, when something is wrong.
    """
    if (Path(path) / "bundle.json").is_file():
        bundle = Bundle(Path(path))
        bundle.verify()
        return {
            "file": path,
            "kind": "model bundle",
            "model": bundle.fingerprint.hex(),
            "checked": "SHA-256 of every file",
        }
    compressed = CompressedFile(path)
    facts = {"file": path, "kind": compressed.kind, "model": compressed.model.hex(), "images": len(compressed.names)}
    try:
        codec = compressed.codec(model)
    except BundleError:
        if model is not None or compressed.archive is None:
            raise
        compressed.check()
        return {**facts, "checked": "checksums (the model is not here: symbols were not looked at)"}
    for i in range(0, len(compressed.names), BATCH):
        compressed.symbols(codec, range(i, min(i + BATCH, len(compressed.names))))
    return {**facts, "checked": "checksums and symbols"}
