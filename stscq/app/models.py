"""The models at hand, from the smallest files to the largest."""

import re
from collections.abc import Sequence
from pathlib import Path

from stscq.bits import payload_bits
from stscq.codec.bitstream.image_file import HEADER
from stscq.codec.bundle.find import all_bundles
from stscq.codec.bundle.pulled import named_bundle, pulled_folders
from stscq.codec.bundle.read import Bundle
from stscq.errors import BundleError


def models_at_hand(named: Sequence[Path | str]) -> list[Bundle]:
    """The bundles named (by folder, or OWNER/NAME of the hub), else all at hand.

    Raises BundleError when a named one is damaged, or none can be read.
    """
    bundles = [Bundle(named_bundle(name)) for name in named] or all_bundles()
    if not bundles:
        raise BundleError("no model can be read; `stscq models list` says why")
    return sorted(bundles, key=lambda bundle: (most_bytes(bundle), bundle.name))


def most_bytes(bundle: Bundle) -> int:
    """The largest file of one image; range coding makes most files a little smaller."""
    sizes = bundle.sizes
    return HEADER + -(-payload_bits(sizes.T, sizes.token_entries, sizes.M) // 8)


def without_repeats(bundles: Sequence[Bundle]) -> list[Bundle]:
    """To choose from: one of those that differ by their seed alone, the first, and of pulled ones the newest commit."""
    pulled = pulled_folders()
    first: dict[Path, Path] = {}
    for folder in sorted((bundle.folder for bundle in bundles), key=lambda folder: (len(folder.name), folder.name)):
        first.setdefault(variant_of(folder), folder)
    newest = {folder for folder in first.values() if pulled.get(folder) != str(folder)}
    return [bundle for bundle in bundles if bundle.folder in newest]


def variant_of(folder: Path) -> Path:
    """models/PROFILE/BACKBONE/bundle/VARIANT of .../VARIANT/seed1; any other folder as it is."""
    by_seed = re.fullmatch(r"seed\d+", folder.name) and folder.absolute().parents[1].name == "bundle"
    return folder.absolute().parent if by_seed else folder.absolute()
