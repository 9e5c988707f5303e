"""Write a model bundle; stscq.codec.bundle lists its files and opens it.

Axes: M groups, T tokens, S codebooks a group, K entries, d channels.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stscq.codec.bundle import group_name, split_tokenizer
from stscq.codec.context import Context, silent
from stscq.codec.description import FORMAT, Sizes, fingerprint_of, seal
from stscq.codec.statistics import Tables, uniform
from stscq.files import write_atomically
from stscq.training.checkpoint import save_tensors
from stscq.training.tokenizer_io import TrainedCodec


def write_bundle(folder: Path, codec: TrainedCodec, model: dict[str, Any], image_size: int, name: str) -> str:
    """Write a bundle with tables that favour nothing and a silent context, bundle.json last; returns its fingerprint.

    model: the arguments of `stscq.backbones.build`.
    """
    weight = codec.codebooks.weight.detach()
    M, S, K, d = weight.shape
    encoder, decoder = split_tokenizer(codec.tokenizer)
    tensors = {"encoder": encoder, "decoder": decoder, "codebooks": {group_name(i): weight[i] for i in range(M)}}
    tensors["router"] = {} if codec.router is None else codec.router.state_dict()
    (folder / "bundle.json").unlink(missing_ok=True)
    for part, content in tensors.items():
        save_tensors(content, folder / f"{part}.safetensors")
    sizes = Sizes(
        model,
        image_size,
        M,
        codec.tokenizer.T,
        K,
        d,
        S == 1,
        None if codec.router is None else len(codec.router.over_tokens),
    )
    said = {
        "format": FORMAT,
        **sizes._asdict(),
        "files": {f"{part}.safetensors": seal(folder, part) for part in tensors},
    }
    rest = {"name": name, "selection": "nn" if codec.router is None else "router"}
    T = codec.tokenizer.T
    return write_tables(folder, uniform(M, T, K), silent(T), [], {**said, **rest})


def write_tables(
    folder: Path, tables: Tables, context: Context, features: Sequence[np.ndarray], said: Mapping[str, Any]
) -> str:
    """Write the symbol statistics into the bundle that `said`, its bundle.json, describes; returns the new fingerprint.

    features: T x K x f int8 of each group; none for a silent context.
    """
    stored = {"group": as_stored(tables.group)}
    stored |= {group_name(i): as_stored(table) for i, table in enumerate(tables.tokens)}
    save_tensors(stored, folder / "tables.safetensors")
    stored = {name: torch.from_numpy(getattr(context, name).astype(np.int16)) for name in ("read", "write")}
    stored["shift"] = torch.tensor([context.shift], dtype=torch.int16)
    stored |= {group_name(i): torch.from_numpy(feature) for i, feature in enumerate(features)}
    save_tensors(stored, folder / "context.safetensors")
    files = {f"{part}.safetensors": seal(folder, part) for part in ("tables", "context")}
    said = {**said, "files": {**said["files"], **files}}
    said["fingerprint"] = fingerprint_of(said)
    write_atomically(folder / "bundle.json", json.dumps(said, indent=1) + "\n")
    return said["fingerprint"]


def as_stored(table: np.ndarray) -> Tensor:
    """1 to 65536 as 16 bits."""
    return torch.from_numpy((table - 1).astype(np.uint16))
