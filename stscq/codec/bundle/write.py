"""Write a model bundle; stscq.codec.bundle.read lists its files and opens it.

Axes: M groups, T tokens, S codebooks a group, K entries, d channels.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from stscq.checkpoint import save_tensors
from stscq.codec.bitstream.context import Context, no_context
from stscq.codec.bitstream.symbol_tables import SymbolTables, uniform
from stscq.codec.bundle.description import FORMAT, UNEQUAL_FORMAT, BundleSizes, fingerprint_of, seal
from stscq.codec.bundle.read import group_name, split_tokenizer
from stscq.files import write_atomically
from stscq.quantization.trained_codec import TrainedCodec

AnyArray = TypeVar("AnyArray", np.ndarray, Tensor)


def write_bundle(folder: Path, codec: TrainedCodec, model: dict[str, Any], image_size: int, name: str) -> str:
    """Write a bundle with uniform tables and without a context, bundle.json last; returns its fingerprint.

    model: the arguments of `stscq.backbones.build`.
    """
    weight = codec.codebooks.weight.detach()
    M, S, K, d = weight.shape
    encoder, decoder = split_tokenizer(codec.tokenizer)
    entries = codec.codebooks.entries
    codebooks = {group_name(i): without_padding(weight[i], entries) for i in range(M)}
    tensors = {"encoder": encoder, "decoder": decoder, "codebooks": codebooks}
    tensors["router"] = {} if codec.router is None else codec.router.state_dict()
    (folder / "bundle.json").unlink(missing_ok=True)
    for part, content in tensors.items():
        save_tensors(content, folder / f"{part}.safetensors")
    sizes = BundleSizes(
        model,
        image_size,
        M,
        codec.tokenizer.T,
        K,
        d,
        S == 1,
        None if codec.router is None else len(codec.router.over_tokens),
        entries,
    )
    described = {name: value for name, value in sizes._asdict().items() if name != "entries" or entries is not None}
    description = {
        "format": FORMAT if entries is None else UNEQUAL_FORMAT,
        **described,
        "files": {f"{part}.safetensors": seal(folder, part) for part in tensors},
    }
    labels = {"name": name, "selection": "nn" if codec.router is None else "router"}
    T = codec.tokenizer.T
    return write_tables(folder, uniform(M, T, K, entries), no_context(T), [], {**description, **labels})


def write_tables(
    folder: Path, tables: SymbolTables, context: Context, features: Sequence[np.ndarray], description: Mapping[str, Any]
) -> str:
    """Write the symbol statistics into a bundle; returns its new fingerprint.

    features: T x K x f int8 of each group, [] without a context; description: bundle.json as it is.
    """
    entries = description.get("entries")
    stored = {"group": as_stored(tables.group)}
    stored |= {group_name(i): as_stored(without_padding(table, entries)) for i, table in enumerate(tables.tokens)}
    save_tensors(stored, folder / "tables.safetensors")
    stored = {name: torch.from_numpy(getattr(context, name).astype(np.int16)) for name in ("read", "write")}
    stored["shift"] = torch.tensor([context.shift], dtype=torch.int16)
    stored |= {group_name(i): without_padding(torch.from_numpy(f), entries) for i, f in enumerate(features)}
    save_tensors(stored, folder / "context.safetensors")
    files = {f"{part}.safetensors": seal(folder, part) for part in ("tables", "context")}
    new = {**description, "files": {**description["files"], **files}}
    fingerprint = fingerprint_of(new)
    write_atomically(folder / "bundle.json", json.dumps({**new, "fingerprint": fingerprint}, indent=1) + "\n")
    return fingerprint


def without_padding(values: AnyArray, entries: Sequence[int] | None) -> AnyArray:
    """T x K x ... without what stands behind the last of a token's K_j entries: sum of K_j x ...; unchanged where all
    tokens have K."""
    if entries is None:
        return values
    has = np.arange(values.shape[1]) < np.array(entries)[:, None]
    return values[torch.from_numpy(has).to(values.device)] if isinstance(values, Tensor) else values[has]


def as_stored(table: np.ndarray) -> Tensor:
    """1 to 65536 as 16 bits."""
    return torch.from_numpy((table - 1).astype(np.uint16))
