"""Checkpoints that hold a tokenizer, its codebooks and its router."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stscq.backbones import Tokenizer, build
from stscq.backbones.base import fast_layout
from stscq.checkpoint import load_checkpoint, prefixed, without_prefix
from stscq.errors import CheckpointError
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.router import Router


class TrainedCodec(NamedTuple):
    """router is None when there is one group."""

    tokenizer: Tokenizer
    codebooks: Codebooks
    router: Router | None


def tensors_of(codec: TrainedCodec) -> dict[str, Tensor]:
    tensors = {
        **prefixed("tokenizer", codec.tokenizer.state_dict()),
        **prefixed("codebooks", codec.codebooks.state_dict()),
    }
    if codec.codebooks.entries is not None:
        tensors["codebooks.entries"] = torch.tensor(codec.codebooks.entries)
    if codec.router is not None:
        tensors |= prefixed("router", codec.router.state_dict())
    return tensors


def load_codec(folder: Path, device: torch.device) -> tuple[TrainedCodec, dict[str, Any]]:
    """A trained codec and the recipe of its last stage. Raises CheckpointError when missing or damaged."""
    tensors, recipe = load_checkpoint(folder)
    try:
        codec = codec_of(tensors, recipe)
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        said = " ".join(str(problem).split())[:200]
        raise CheckpointError(f"{folder}: not a tokenizer with its codebooks ({said})") from problem
    return on_device(codec, device), recipe


def codec_of(tensors: dict[str, Tensor], recipe: dict[str, Any]) -> TrainedCodec:
    """The inverse of `tensors_of`."""
    tokenizer = build(**json.loads(recipe["model"]))
    tokenizer.take_codebook()
    tokenizer.load_state_dict(without_prefix("tokenizer", tensors))
    weight = tensors["codebooks.weight"]
    router_state = without_prefix("router", tensors)
    router = None
    if router_state:
        rank, T = router_state["over_tokens"].shape
        router = Router(weight.shape[0], T, weight.shape[-1], rank)
        router.load_state_dict(router_state)
    entries = tensors["codebooks.entries"].tolist() if "codebooks.entries" in tensors else None
    return TrainedCodec(fast_layout(tokenizer), Codebooks(weight, tokenizer.metric, entries=entries), router)


def on_device(codec: TrainedCodec, device: torch.device) -> TrainedCodec:
    """Moves its modules, in place."""
    for part in codec:
        if part is not None:
            part.to(device)
    return codec
