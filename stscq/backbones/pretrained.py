"""Published tokenizer weights into our modules: .safetensors, .bin, .pth, Lightning's .ckpt; never a pickled object."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from stscq.backbones.base import Tokenizer
from stscq.errors import CheckpointError
from stscq.files import check_permission

NOT_OURS = ("loss.", "ema.", "model_ema.", "optimizer.", "image_key")
"""Beginnings of names that training left in published checkpoints: discriminator, LPIPS, averages."""
AVERAGES = "model_ema."
"""Before the names, without their dots, of running means of the weights: what IBQ's authors evaluate with."""
SHOWN = 3
ACCOUNT = 300
"""Characters of torch's account of a wrong file: the first few keys."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a weights file, on the CPU: the running mean over training, where the file has one.

    Raises CheckpointError when it is missing, truncated, or holds more than tensors and plain values.
    """
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as problem:  # a damaged zip, pickle or header raises nearly anything
        check_permission(path, CheckpointError)
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        known = isinstance(problem, SafetensorError | OSError)
        hint = "" if known else "; only plain tensors are read from such files"
        raise CheckpointError(f"{path}: missing, truncated or no weights file ({reason}){hint}") from problem
    # Lightning and many training scripts put the tensors one level down.
    tensors = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(f"{path}: no table of tensors; expected a state dict")
    own = {name: value for name, value in tensors.items() if not name.startswith(NOT_OURS)}
    return {name: tensors.get(AVERAGES + name.replace(".", ""), value) for name, value in own.items()}


def load_exactly(tokenizer: Tokenizer, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Set the weights of `tokenizer`, its global codebook included, from those of the file `path`: every key and shape.

    Raises CheckpointError with the first few differences; the tokenizer is then unchanged.
    """
    expected = tokenizer.state_dict()
    differences = [f"{name} is missing" for name in expected if name not in tensors]
    differences += [f"{name} is not expected" for name in tensors if name not in expected]
    differences += [
        f"{name} is {list(tensors[name].shape)}, expected {list(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if differences:
        more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise CheckpointError(
            f"{path}: not the weights of this {type(tokenizer).__name__}: {'; '.join(differences[:SHOWN])}{more}"
        )
    tokenizer.load_state_dict(tensors)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Inside, keys or shapes of the file `path` that do not fit a network end in one line: a CheckpointError."""
    try:
        yield
    except RuntimeError as problem:  # what load_state_dict raises, a paragraph for each key
        account = " ".join(str(problem).split())
        raise CheckpointError(
            f"{path}: not the published weights ({account[:ACCOUNT]}); stscq weights get"
        ) from problem
