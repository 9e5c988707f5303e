"""Publish a bundle on the Hugging Face hub: its files and its card, in one commit, all or nothing."""

import json
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi, get_token

from stscq import __version__
from stscq.codec.bundle.hub_card import readme
from stscq.codec.bundle.hub_problems import LOG_IN, hub_problems
from stscq.codec.bundle.pulled import WEIGHTS
from stscq.codec.bundle.read import Bundle
from stscq.errors import BundleError


def push(folder: Path, repository: str, private: bool) -> CommitInfo:
    """Make the repository OWNER/NAME where there is none, and give it the bundle; the commit says where it is.

    private: only its owner sees it; a public repository that is there already is then refused. Raises BundleError for a
    damaged bundle, one without its card, and whatever the hub says; then no file there has changed.
    """
    bundle = Bundle(folder)
    bundle.verify()
    card = card_of(bundle)
    text = readme(card, bundle.sizes.model["family"], repository).encode()
    files = [*WEIGHTS, "card.json", "bundle.json"]
    additions = [CommitOperationAdd(path_in_repo=file, path_or_fileobj=folder / file) for file in files]
    with hub_problems(repository):
        if get_token() is None:
            raise BundleError(f"{repository}: you are not logged in to the hub; {LOG_IN}")
        hub = HfApi()
        hub.create_repo(repository, private=private or None, exist_ok=True)  # None: as the owner's settings say
        if private and not hub.model_info(repository).private:
            raise BundleError(
                f"{repository}: a public repository; make it private on its page on the hub, or name another"
            )
        return hub.create_commit(
            repository,
            operations=[*additions, CommitOperationAdd(path_in_repo="README.md", path_or_fileobj=text)],
            commit_message=f"{bundle.name or folder.name}, {bundle.fingerprint.hex()[:8]} (stscq {__version__})",
        )


def card_of(bundle: Bundle) -> dict[str, Any]:
    """card.json. Raises BundleError when it is missing, damaged, or of another bundle."""
    file = bundle.folder / "card.json"
    try:
        card: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        fingerprint = card["model"]["fingerprint"]
        card["measured"].items(), card["training"]["profile"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BundleError(f"{file}: no card of a model ({problem!r}); export the bundle again") from problem
    if fingerprint != bundle.fingerprint.hex():
        raise BundleError(f"{file}: the card of another bundle ({str(fingerprint)[:8]}); export the bundle again")
    return card
