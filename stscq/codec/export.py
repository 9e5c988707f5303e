"""Make a model bundle of a trained codec: all that compressing and decompressing need, in one folder.

python -m stscq.codec.export --codec models/demo/titok_s/stage3/token_specific/seed1 --store data/demo/faces \
    --split data/demo/splits/seed1/index.parquet --out models/demo/titok_s/bundle/token_specific/seed1
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stscq import __version__
from stscq.bits import payload_bits
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.codec.bitstream.fit_context import TrainingSymbols, fit_context
from stscq.codec.bitstream.symbol_tables import fit
from stscq.codec.bundle.card import EXPECTED, write_card
from stscq.codec.bundle.read import Bundle
from stscq.codec.bundle.write import write_bundle, write_tables
from stscq.data.latents import read_latents
from stscq.data.splits import sample_rows
from stscq.data.store import open_store
from stscq.device import own_device
from stscq.errors import BundleError
from stscq.quantization.search import normalise
from stscq.quantization.trained_codec import load_codec


def main(
    store: Path,
    split: Path,
    codec: Path,
    out: Path,
    name: str = "",
    profile: str = "",
    images: int = 20_000,
    measured: Path | None = None,
    latents: Path | None = None,
) -> None:
    """Writes the bundle OUT: its files are listed in stscq/codec/bundle/read.py.

    The symbol statistics are those of up to IMAGES images that the index SPLIT marks `train` (all, when it has no such
    column), encoded as the bundle prefers. LATENTS: those of all training images (stscq.training.latents), by the
    same encoder; without it they are encoded here. NAME, PROFILE and the numbers of MEASURED (JSON) are for the card.
    """
    trained, recipe = load_codec(codec, own_device())
    pictures, index = open_store(store)
    sides = pd.read_parquet(split)
    training = (sides.index[sides["split"] == "train"] if "split" in sides else sides.index).to_numpy()
    rows = sample_rows(training, int(recipe["seed"]), images)
    model = json.loads(recipe["model"])
    T = trained.tokenizer.T
    write_bundle(out, trained, model, pictures.shape[1], name)
    ready = Codec.load(out, own_device())  # what is counted comes from what is on disk, and from nothing else
    group, tokens = ready.quantise(pictures, rows=rows, z_e=latents_of(latents, training, rows, T, trained.tokenizer.d))
    symbols = TrainingSymbols(group.numpy(), tokens.numpy(), index.identity[rows].to_numpy())
    fingerprint, expected, rate = write_statistics(ready, symbols)
    write_card(
        out,
        {
            "title": name or f"{model['family']}, {trained.codebooks.M} x {trained.codebooks.K}",
            "model": {"fingerprint": fingerprint, "stscq": __version__, **describe(Bundle(out))},
            "training": {
                "profile": profile or "not said",
                "people": int(index.identity[training].nunique()),
                "images": len(training),
                **{key: recipe[key] for key in ("seed", "steps", "selection") if key in recipe},
                **teacher_of(recipe),
            },
            "rate": rate,
            "measured": numbers_of(measured),
        },
    )
    fixed = payload_bits(T, ready.bundle.sizes.token_entries, ready.bundle.sizes.M)
    print(f"{out}: {fingerprint[:8]}, {fixed} bits fixed, {expected:.1f} expected when coded")


def latents_of(file: Path | None, training: np.ndarray, rows: np.ndarray, T: int, d: int) -> Tensor | None:
    """Out of the latents of all TRAINING rows, in order, those of some ROWS: N x T x d. None without a file."""
    if file is None:
        return None
    return torch.from_numpy(read_latents(file, len(training), T, d)[0][np.searchsorted(training, rows)])


class Statistics(NamedTuple):
    """fingerprint: of the finished bundle; expected: bits of an image of people who were not counted; rate: for the
    card."""

    fingerprint: str
    expected: float
    rate: dict[str, Any]


def write_statistics(codec: Codec, symbols: TrainingSymbols) -> Statistics:
    """Fit symbol tables and context on the training images, and write them into the codec's bundle."""
    M, T, K = codec.bundle.sizes.M, codec.bundle.sizes.T, codec.bundle.sizes.K
    entries = codec.bundle.sizes.entries
    fitted = fit(*symbols, M, K, entries)
    context, basis, context_bits, baseline_bits, settings = fit_context(
        symbols, partial(entries_of, codec), M, K, entries
    )
    features = [basis.features(entries_of(codec, group)) for group in range(M)] if basis else []
    fingerprint = write_tables(codec.bundle.folder, fitted.tables, context, features, codec.bundle.description)
    saved = baseline_bits - context_bits
    expected = fitted.held_out_bits - saved
    rate = {
        "fixed-length payload, bits an image": payload_bits(T, codec.bundle.sizes.token_entries, M),
        EXPECTED: round(expected, 1),
        "of which the context of earlier tokens saves": round(saved, 1),
        "smoothing (images)": json.dumps(fitted.strengths),
        "context": json.dumps(settings),
    }
    return Statistics(fingerprint, expected, rate)


def entries_of(codec: Codec, group: int) -> np.ndarray:
    """A group's entries as the decoder takes them, S x K x d."""
    return normalise(codec.groups[group], codec.encoder.metric).cpu().numpy()


def describe(bundle: Bundle) -> dict[str, Any]:
    """The sizes of a bundle, for its card."""
    M, T = bundle.sizes.M, bundle.sizes.T
    codebooks = "one codebook for all tokens" if bundle.sizes.shared else f"{M} x {T} codebooks"
    return {
        "family": bundle.sizes.model["family"],
        "pixels": f"{bundle.sizes.image_size} x {bundle.sizes.image_size}",
        "tokens": T,
        "codebooks": f"{codebooks} of {bundle.sizes.entries_told} entries with {bundle.sizes.d} channels",
        "selection": bundle.selection,
        "bytes": sum(file["bytes"] for file in bundle.files.values()),
    }


def teacher_of(recipe: Mapping[str, Any]) -> dict[str, str]:
    """By which recogniser stage 3 taught the decoder, for the card; nothing of a codec without a stage 3."""
    if "taught_by" not in recipe:
        return {}
    other = f"{recipe['taught_by']}, which also judges its workflow: outside all claims made there"
    return {"decoder taught by": "the recogniser of training" if recipe["taught_by"] == "own" else other}


def numbers_of(measured: Path | None) -> dict[str, Any]:
    """The numbers in a JSON file, those of its inner mappings included. Raises BundleError when it cannot be read."""
    if measured is None:
        return {"see": "the tables of the run that this bundle belongs to"}
    try:
        frame = pd.json_normalize(json.loads(measured.read_text(encoding="utf-8")))
    except (OSError, ValueError) as problem:
        raise BundleError(f"{measured}: no numbers to read ({problem})") from problem
    numbers = {str(key): value for key, value in frame.iloc[0].items() if isinstance(value, (int, float, np.number))}
    return {key: value.item() if isinstance(value, np.number) else value for key, value in numbers.items()}  # for JSON


if __name__ == "__main__":
    run(main)
