"""Checkpoints without pickles: tensors in safetensors, everything else in JSON, both written atomically."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stscq.errors import CheckpointError
from stscq.files import atomically, check_permission, sha256_of_file, write_atomically


def save_tensors(tensors: Mapping[str, Tensor], path: Path, note: Mapping[str, Any] | None = None) -> None:
    """Write tensors, with `note` (JSON) in the same file."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomically(path) as partial:
        partial.unlink(missing_ok=True)
        partial.touch()
        mode = partial.stat().st_mode  # by the umask; safetensors makes a file that nobody else may read
        save_file(contiguous, partial, metadata={"note": json.dumps(note or {})})
        partial.chmod(mode)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and note. Raises CheckpointError when the file is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["note"])  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as problem:
        check_permission(path, CheckpointError)
        raise CheckpointError(f"{path}: missing or damaged ({problem}); delete it and run its rule again") from problem


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], recipe: Mapping[str, Any]) -> None:
    """`folder/recipe.json` (what was trained, from what, how) and `folder/weights.safetensors`."""
    write_atomically(folder / "recipe.json", json.dumps(recipe, indent=2, sort_keys=True) + "\n")
    save_tensors(tensors, folder / "weights.safetensors")


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and recipe of a finished stage. Raises CheckpointError when either is missing or damaged."""
    try:
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        check_permission(folder / "recipe.json", CheckpointError)
        raise CheckpointError(f"{folder}/recipe.json: {problem}; run the rule that makes it") from problem
    return load_tensors(folder / "weights.safetensors")[0], recipe


def fingerprint(recipe: Mapping[str, Any], *inputs: Path) -> str:
    """SHA-256 of a recipe and of the content of the files that it starts from."""
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode())
    for path in inputs:
        digest.update(bytes.fromhex(sha256_of_file(path)))
    return digest.hexdigest()


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `prefixed`: only what carries the prefix, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}
