"""Which model bundle to use when none is named."""

from pathlib import Path

import stscq
from stscq.codec.bundle.pulled import pulled_folders
from stscq.codec.bundle.read import Bundle
from stscq.codec.bundle.shipped import SHIPPED
from stscq.errors import BundleError

ALL = "models/*/*/bundle/*/*"


def roots() -> list[Path]:
    """Where models/ may be: here, or where this program's source is."""
    return [Path(), Path(stscq.__file__).resolve().parent.parent]


def bundles_at_hand() -> dict[Path, str]:
    """The folders of the shipped bundle, of all under models/ and of those pulled from the hub -> what `--model` calls
    each by."""
    local: dict[Path, Path] = {SHIPPED.resolve(): SHIPPED}  # by its whole path: both roots may be one
    for root in roots():
        for file in sorted(root.glob(f"{ALL}/bundle.json")):
            local.setdefault(file.parent.resolve(), file.parent)
    return {folder: str(folder) for folder in local.values()} | pulled_folders()


def files_of(bundle: Bundle) -> list[Path]:
    """Every file of a bundle that is read."""
    return [bundle.folder / name for name in ("bundle.json", *bundle.files)]


def all_bundles() -> list[Bundle]:
    """Those at hand that can be read; of those with the same fingerprint the first."""
    bundles: dict[bytes, Bundle] = {}
    for folder in bundles_at_hand():
        try:
            bundle = Bundle(folder)
        except BundleError:
            continue  # a damaged bundle is passed over here; naming it with --model says what is wrong
        bundles.setdefault(bundle.fingerprint, bundle)
    return list(bundles.values())


def bundles_of(model: bytes) -> list[Bundle]:
    """The bundles under models/ and those pulled from the hub whose fingerprints begin with `model`.

    Raises BundleError when there is none.
    """
    if bundles := [bundle for bundle in all_bundles() if bundle.fingerprint.startswith(model)]:
        return bundles
    raise BundleError(
        f"no model with fingerprint {model.hex()} is shipped, under models/ or pulled from the hub; "
        "give --model the bundle that wrote this file"
    )
