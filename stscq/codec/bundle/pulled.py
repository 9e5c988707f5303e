"""Bundles of repositories on the Hugging Face hub, in huggingface_hub's own cache.

No file of a repository comes but those of a bundle. What is in the cache is used without asking the hub: a model does
not change under the files that it wrote until `pull` is called. (snapshot_download alone would ask for the newest
commit at every call.) Older commits stay in the cache, and what they wrote stays readable.

    cache/models--OWNER--NAME/refs/main             the commit that OWNER/NAME stands for: verified
    cache/models--OWNER--NAME/snapshots/COMMIT/     a bundle, and README.md, its card
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from stscq.codec.bundle.description import FORMAT, MAX_SIZE, PARTS, READ, UNEQUAL_FORMAT, read_json
from stscq.codec.bundle.hub_problems import REPOSITORY, hub_problems
from stscq.codec.bundle.read import Bundle
from stscq.errors import BundleError

WEIGHTS = tuple(f"{part}.safetensors" for part in PARTS)
TEXTS = ("bundle.json", "card.json", "README.md")


def named_bundle(name: Path | str, revision: str | None = None) -> Path:
    """The folder of the bundle that people call `name`: a folder or, where there is none, OWNER/NAME on the hub.

    revision: a branch, tag or commit of the repository; None is `main`. The hub is asked only for what is not in the
    cache. Raises BundleError when it cannot be had.
    """
    repository = str(name)
    if Path(name).exists() or not REPOSITORY.fullmatch(repository):
        if revision is not None:
            raise BundleError(f"{name}: a folder, which has no revision {revision}; give OWNER/NAME of the hub")
        return Path(name)
    folder = cached_folder(repository, revision)
    if folder is not None:
        return folder
    try:
        return pull(repository, revision).folder
    except BundleError as problem:
        raise BundleError(f"{problem} (there is no such folder, and it was not pulled before)") from problem


def cached_folder(repository: str, revision: str | None) -> Path | None:
    """Where the cache has this revision, whole; None where it does not."""
    from huggingface_hub import snapshot_download  # slow to import
    from huggingface_hub.errors import LocalEntryNotFoundError

    with hub_problems(repository, revision):
        try:
            wanted = [*TEXTS, *WEIGHTS]
            return Path(snapshot_download(repository, revision=revision, allow_patterns=wanted, local_files_only=True))
        except LocalEntryNotFoundError:
            return None


def pull(repository: str, revision: str | None = None) -> Bundle:
    """Bring what is at this revision on the hub now into the cache, verify it, and let OWNER/NAME stand for it.

    Raises BundleError when it cannot be had, or is no bundle, or a damaged one; then OWNER/NAME stands for what it did.
    """
    from huggingface_hub import HfApi, snapshot_download

    with hub_problems(repository, revision):
        hub = HfApi()
        listing = hub.model_info(repository, revision=revision, files_metadata=True)
        commit = str(listing.sha)
        sizes = {file.rfilename: file.size for file in listing.siblings or []}
        check_texts(repository, sizes)
        there = cached_folder(repository, commit) is not None
        # By its commit: that gives the commit no name yet.
        folder = Path(snapshot_download(repository, revision=commit, allow_patterns="bundle.json"))
        try:
            check_weights(folder, sizes)
            bundle = fetch(repository, commit, again=there)
        except BundleError as problem:
            discard(repository, commit)
            text = str(problem).replace(str(folder), repository)
            raise BundleError(f"refused, and not kept: {text}, or pull it again") from problem
        hub.resolve_revision(repository, revision=revision)  # remembers the commit; moved on meanwhile, it is not there
    return bundle


def check_texts(repository: str, sizes: Mapping[str, int | None]) -> None:
    """sizes: bytes of each file in the repository. Raises BundleError unless it may hold a bundle."""
    if "bundle.json" not in sizes:
        raise BundleError(f"{repository}: not a model bundle (it has no bundle.json); name another repository")
    for file in TEXTS:
        if (sizes.get(file) or 0) > MAX_SIZE:
            raise BundleError(f"{repository}: {file} has more than {MAX_SIZE} bytes; name another repository")


def check_weights(folder: Path, sizes: Mapping[str, int | None]) -> None:
    """Before they are fetched: raises BundleError unless the repository has each file in the size that the description
    in `folder` says. sizes: as above."""
    description = read_json(folder / "bundle.json")
    if description.get("format") not in (FORMAT, UNEQUAL_FORMAT):
        raise BundleError(f"{folder}: format {description.get('format')!r}; {READ}")
    try:
        wanted = {file: description["files"][file]["bytes"] for file in WEIGHTS}
    except (KeyError, TypeError) as problem:
        raise BundleError(f"{folder}/bundle.json: not the description of a model; export it again") from problem
    for file, size in wanted.items():
        if sizes.get(file) != size:
            raise BundleError(
                f"{folder}/{file}: {sizes.get(file)} bytes, not {size} as bundle.json says; push it again"
            )


def fetch(repository: str, commit: str, again: bool) -> Bundle:
    """The bundle of a commit, verified. Raises BundleError when it is none, or damaged.

    again: the cache had it already; where that copy was damaged, it is fetched once more.
    """
    from huggingface_hub import snapshot_download

    wanted = [*TEXTS, *WEIGHTS]
    folder = Path(snapshot_download(repository, revision=commit, allow_patterns=wanted))
    try:
        bundle = Bundle(folder)
        bundle.verify()
    except BundleError:
        if not again:
            raise
        snapshot_download(repository, revision=commit, allow_patterns=wanted, force_download=True)
        bundle = Bundle(folder)
        bundle.verify()
    return bundle


def discard(repository: str, commit: str) -> None:
    """Take a commit of a repository out of the cache, so that its wrong files are not used when it is pulled again."""
    from huggingface_hub import constants, scan_cache_dir

    cache = scan_cache_dir(constants.HF_HUB_CACHE)
    its = frozenset(repo for repo in cache.repos if (repo.repo_id, repo.repo_type) == (repository, "model"))
    replace(cache, repos=its).delete_revisions(commit).execute()  # another repository may have the same commit


def pulled_folders() -> dict[Path, str]:
    """Every bundle in the cache, the newest commits first: folder -> what `named_bundle` calls it by.

    What is no bundle, or was only begun, is passed over.
    """
    from huggingface_hub import constants  # where the cache is; of the library this alone is quick to import

    folders = {}
    for file in sorted(Path(constants.HF_HUB_CACHE).glob("models--*/snapshots/*/bundle.json")):
        folder, cached = file.parent, file.parents[2]
        try:
            Bundle(folder)
        except BundleError:
            continue
        main = cached / "refs" / "main"
        newest = main.is_file() and main.read_text(encoding="utf-8") == folder.name
        repository = cached.name.removeprefix("models--").replace("--", "/")
        folders[folder] = repository if newest else str(folder)
    # First: where another commit changed the card alone, both are one model, of which the first is taken.
    return dict(sorted(folders.items(), key=lambda named: named[1] == str(named[0])))
