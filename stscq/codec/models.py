"""`stscq models list`, `push`, `pull` and `onnx`: the model bundles at hand, those on the hub, and their graphs."""

import json
from pathlib import Path
from typing import Any

from stscq.codec.api import Codec
from stscq.codec.bundle.card import EXPECTED
from stscq.codec.bundle.description import Selection
from stscq.codec.bundle.find import bundles_at_hand
from stscq.codec.bundle.pulled import pull as pull_bundle
from stscq.codec.bundle.read import Bundle
from stscq.codec.bundle.shipped import SHIPPED
from stscq.codec.commands import tell
from stscq.errors import BundleError, StscqError


def show(as_json: bool) -> int:
    """Prints a line for the shipped bundle, each under models/ and each that was pulled; 1 when one is damaged."""
    code = 0
    for folder, model in bundles_at_hand().items():
        try:
            facts = describe(Bundle(folder), model)
        except BundleError as problem:
            tell({"model": model, "problem": str(problem)}, f"error: {problem}", as_json, err=not as_json)
            code = 1
        else:
            expected = facts["payload bytes a face, expected"]
            rate = "" if expected is None else f"{expected} bytes a face expected, "
            text = f"{model}: {facts['name']}, {facts['pixels']} pixels, {rate}{facts['fingerprint'][:8]}"
            tell({**facts, "problem": None}, text, as_json)
    return code


def describe(bundle: Bundle, model: str) -> dict[str, Any]:
    """model: what `--model` calls the bundle by."""
    size = bundle.sizes.image_size
    return {
        "model": model,
        "name": bundle.name,
        "pixels": f"{size} x {size}",
        "payload bytes a face, expected": expected_bytes(bundle.folder),
        "fingerprint": bundle.fingerprint.hex(),
    }


def expected_bytes(folder: Path) -> float | None:
    """Of a stranger's face, by the card; None where there is no card."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        return round(float(card["rate"][EXPECTED]) / 8, 1)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def push(folder: Path, repository: str, private: bool, accepted: bool, as_json: bool) -> int:
    """Prints where the bundle is now.

    Raises StscqError, before anything is read or sent, unless who publishes has accepted RESPONSIBLE_USE.md.
    """
    if not accepted:
        raise StscqError(
            f"{repository}: whoever publishes a model answers for it: read RESPONSIBLE_USE.md and THIRD_PARTY.md, then "
            "add --accept-responsible-use"
        )
    from stscq.codec.bundle.push import push as push_bundle  # its library is slow to import, and only needed here

    commit = push_bundle(folder, repository, private)
    fingerprint = Bundle(folder).fingerprint.hex()
    facts = {"model": repository, "commit": commit.oid, "url": commit.commit_url, "fingerprint": fingerprint}
    tell(facts, f"{repository}: {fingerprint[:8]}, now {commit.commit_url}", as_json)
    return 0


def pull(repository: str, revision: str | None, as_json: bool) -> int:
    """Prints what came, and where it is."""
    bundle = pull_bundle(repository, revision)
    facts = {**describe(bundle, repository), "folder": str(bundle.folder), "commit": bundle.folder.name}
    text = (
        f"{repository}: {bundle.name}, {bundle.fingerprint.hex()[:8]}, whole (SHA-256 of every file), {bundle.folder}"
    )
    tell(facts, text, as_json)
    return 0


def to_onnx(model: str | None, out: Path, selection: Selection | None, as_json: bool) -> int:
    """Prints the graphs and their sizes."""
    from stscq.codec.onnx_export import export_onnx  # so that the other commands need no more than the codec does

    codec = Codec.from_pretrained(SHIPPED if model is None else model)
    sizes = export_onnx(codec, out, selection)
    facts = {"model": codec.bundle.name, "fingerprint": codec.bundle.fingerprint.hex(), "folder": str(out), **sizes}
    listed = ", ".join(f"{name}.onnx {size} bytes" for name, size in sizes.items())
    tell(facts, f"{out}: {listed}", as_json)
    return 0
