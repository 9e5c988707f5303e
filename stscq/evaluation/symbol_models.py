"""What a better model of the symbols would save: bits an image of the test people, from the training people's symbols.

python -m stscq.evaluation.symbol_models --bundle models/demo/titok_s/bundle/token_specific/seed1
    --store data/demo/faces --split data/demo/splits/seed1/index.parquet --original ...
    --out data/demo/symbols/titok_s/token_specific/test/seed1
"""

import json
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from stscq.bits import ideal_bits, payload_bits
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.codec.bitstream.symbol_tables import TOTAL
from stscq.data.splits import sample_rows
from stscq.data.store import open_store
from stscq.device import own_device
from stscq.evaluation.judging import pairs_of
from stscq.evaluation.statistics import paired_bootstrap
from stscq.evaluation.symbol_distributions import (
    MODELS,
    Neighbours,
    Strengths,
    Symbols,
    Tables,
    bits,
    context_of,
    empirical_bits,
    fit_neighbours,
    mixture_weights,
    probabilities,
    tables,
)
from stscq.files import write_atomically
from stscq.quantization.lookup import lookup
from stscq.quantization.search import normalise

MOST = 2048
"""Images of either side: a sample of larger sets."""
HELD_OUT = 4
"""One in so many training people is held out, to tune strengths and weights."""
STRENGTHS = (0.5, 2.0, 8.0, 32.0, 128.0, 512.0)
RIDGES = (0.03, 0.3, 3.0)
SHARPNESS = (0.0, 0.004, 0.016, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0)
"""In units of one over the variance of a channel."""


def main(bundle: Path, store: Path, split: Path, original: Path, out: Path) -> None:
    """Writes OUT/metrics.json (bits an image and % of fixed length under each model) and OUT/images.parquet (bits of
    each test image under each).

    Groups are selected as BUNDLE prefers: by its router where it has one. SPLIT says who trains; ORIGINAL,
    the evaluation of the uncompressed images, who is tested.
    """
    codec = Codec.load(bundle, own_device())
    T, K, M = codec.bundle.sizes.T, codec.bundle.sizes.K, codec.bundle.sizes.M
    context = context_of(T, None if codec.bundle.sizes.model["family"] == "titok" else isqrt(T))
    index = pd.read_parquet(split)
    known = sample_rows(index.index[index.split == "train"].to_numpy(), seed=0, most=MOST)
    pairs = pairs_of(original)
    tested = sample_rows(np.unique(pairs[["a", "b"]]), seed=0, most=MOST)
    faces = open_store(store)
    codebooks = codebooks_of(codec)
    training, test = (symbols_of(codec, codebooks, faces.images, rows) for rows in (known, tested))
    fitted = fit(training, index.identity.to_numpy()[known], codebooks, context)
    probability = probabilities(test, codebooks, fitted.tables, fitted.neighbours)
    of_group = ideal_bits(fitted.tables.group_choice[test.group])
    length = dict(zip(MODELS, bits(probability), strict=True))
    length["mixture"] = bits(np.tensordot(fitted.weights, probability, 1))
    fixed = float(payload_bits(T, K, M))
    length = {name: own + (np.log2(M) if name == "fixed" else of_group) for name, own in length.items()}
    length["codec"] = codec_bits(codec, test)
    identity = faces.index.identity.to_numpy()[tested]
    frame = pd.concat(
        pd.DataFrame({"row": tested, "identity": identity, "model": name, "bits": own}) for name, own in length.items()
    )
    out.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(out / "images.parquet", index=False)
    metrics = {
        "training_images": len(known),
        "images": len(tested),
        "fixed_bits": fixed,
        "models": {name: summary(own, fixed, identity) for name, own in length.items()},
        "oracle_position": {"bits": empirical_bits(test, M, K), "achievable": False},
        "strengths": fitted.strengths._asdict(),
        "ridge": fitted.ridge,
        "sharpness": fitted.neighbours.sharpness,
        "weights": dict(zip(MODELS, fitted.weights.tolist(), strict=True)),
    }
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def symbols_of(codec: Codec, codebooks: np.ndarray, images: np.ndarray, rows: np.ndarray) -> Symbols:
    """The symbols of images[rows]. codebooks: M x T x K x d, as the decoder takes them."""
    assignment = codec.quantise(images, rows=rows)
    entries = lookup(lambda group: torch.from_numpy(codebooks[group]), assignment)
    return Symbols(assignment.group.numpy(), assignment.index.numpy(), entries.numpy())


def codec_bits(codec: Codec, symbols: Symbols) -> np.ndarray:
    """Ideal code length of each image, group and tokens, under the integer tables that the codec codes with: N."""
    tokens = [
        codec.alphabet.image_tables(group).ideal_bits(index)
        for group, index in zip(symbols.group.tolist(), symbols.index, strict=True)
    ]
    return np.array(tokens) + ideal_bits(codec.alphabet.group_table[symbols.group] / TOTAL)


def codebooks_of(codec: Codec) -> np.ndarray:
    """M x T x K x d as the decoder takes them; a shared codebook stands for every token."""
    sizes = codec.bundle.sizes
    codebooks = normalise(codec.all_codebooks, codec.encoder.metric).cpu()
    return codebooks.expand(sizes.M, sizes.T, sizes.K, sizes.d).numpy()


class FittedModels(NamedTuple):
    """What `fit` learns from the training people; weights: of the mixture, one for each of MODELS."""

    strengths: Strengths
    tables: Tables
    ridge: float
    neighbours: Neighbours
    weights: np.ndarray


def fit(training: Symbols, identity: np.ndarray, codebooks: np.ndarray, context: list[list[int]]) -> FittedModels:
    """Strengths, ridge, sharpness and mixture weights by held-out training people; then all of them are counted.

    identity: N, of the training images.
    """
    people = np.unique(identity)
    held = np.isin(identity, people[HELD_OUT - 1 :: HELD_OUT])
    if held.all() or not held.any():  # fewer people than that
        held = np.arange(len(identity)) % HELD_OUT == 0
    counted, held_out = training.take(np.flatnonzero(~held)), training.take(np.flatnonzero(held))
    M, K = codebooks.shape[0], codebooks.shape[2]
    strengths = tune_strengths(counted, held_out, M, K)
    counts = tables(counted, M, K, strengths)
    ridge, sharpness = tune_neighbours(counted, held_out, codebooks, counts, context)
    neighbours = fit_neighbours(counted.z, context, ridge, sharpness)
    weights = mixture_weights(probabilities(held_out, codebooks, counts, neighbours))
    return FittedModels(
        strengths,
        tables(training, M, K, strengths),
        ridge,
        fit_neighbours(training.z, context, ridge, sharpness),
        weights,
    )


def tune_strengths(counted: Symbols, held_out: Symbols, M: int, K: int) -> Strengths:
    """One after the other, coarsest first, each by the length of the held-out symbols under its own model."""
    token = np.arange(held_out.index.shape[1])

    def length(name: str, strengths: Strengths) -> float:
        found = tables(counted, M, K, strengths)
        probability = {
            "pooled": found.pooled[held_out.index],
            "position": found.position[token, held_out.index],
            "group": found.group[held_out.group[:, None], held_out.index],
            "group_position": found.group_position[held_out.group[:, None], token, held_out.index],
        }
        return float(bits(probability[name]).mean())

    strengths = Strengths(*[STRENGTHS[0]] * 4)
    for name in Strengths._fields:
        tried = [strengths._replace(**{name: strength}) for strength in STRENGTHS]
        strengths = min(tried, key=lambda one, name=name: length(name, one))  # type: ignore[misc]
    return strengths


def tune_neighbours(
    counted: Symbols, held_out: Symbols, codebooks: np.ndarray, counts: Tables, context: list[list[int]]
) -> tuple[float, float]:
    """Ridge and sharpness with the shortest held-out symbols; a sharpness of 0 means that neighbours do not help."""
    scale = 1 / max(float((counted.z - counted.z.mean(0)).var()), 1e-12)
    place = MODELS.index("neighbours")
    best = (np.inf, RIDGES[0], 0.0)
    for ridge in RIDGES:
        one = fit_neighbours(counted.z, context, ridge, 0.0)
        for sharpness in SHARPNESS:
            own = one._replace(sharpness=sharpness * scale)
            length = float(bits(probabilities(held_out, codebooks, counts, own)[place]).mean())
            best = min(best, (length, ridge, own.sharpness))
    return best[1], best[2]


def summary(own: np.ndarray, fixed: float, identity: np.ndarray) -> dict[str, Any]:
    """Mean bits an image, % of fixed length, and the saving in bits with its 95 % interval over people."""
    difference = pd.DataFrame(
        {"value": fixed - own, "first": identity, "second": identity, "stratum": "", "weight": 1.0}
    )
    saved = paired_bootstrap(difference)
    mean = float(own.mean())
    return {"bits": mean, "percent": 100 * mean / fixed, "saved": fixed - mean, "low": saved.low, "high": saved.high}


if __name__ == "__main__":
    run(main)
