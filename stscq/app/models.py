"""The models at hand, from the smallest files to the largest."""

from collections.abc import Sequence
from pathlib import Path

from stscq.bits import payload_bits
from stscq.codec.bitstream.image_file import HEADER
from stscq.codec.bundle.find import NONE, all_bundles
from stscq.codec.bundle.pulled import named_bundle
from stscq.codec.bundle.read import Bundle
from stscq.errors import BundleError


def models_at_hand(named: Sequence[Path | str]) -> list[Bundle]:
    """The bundles named (by folder, or OWNER/NAME of the hub), else all at hand.

    Raises BundleError when one is damaged, or when there is none.
    """
    bundles = [Bundle(named_bundle(name)) for name in named] or all_bundles()
    if not bundles:
        raise BundleError(NONE)
    return sorted(bundles, key=lambda bundle: (most_bytes(bundle), bundle.name))


def most_bytes(bundle: Bundle) -> int:
    """The largest file of one image; range coding makes most files a little smaller."""
    sizes = bundle.sizes
    return HEADER + -(-payload_bits(sizes.T, sizes.K, sizes.M) // 8)


def without_seeds(bundles: Sequence[Bundle]) -> list[Bundle]:
    """Of models that differ by their seed alone (models/PROFILE/BACKBONE/bundle/VARIANT/SEED) the first, in order."""
    first: dict[Path, Bundle] = {}
    for bundle in sorted(bundles, key=lambda bundle: bundle.folder.name):
        first.setdefault(bundle.folder.absolute().parent, bundle)
    return [bundle for bundle in bundles if bundle in first.values()]
