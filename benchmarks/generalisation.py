"""Why do token-specific codebooks lose what they win at small K: too few faces, or too few steps?

python -m benchmarks.generalisation --bundles '["models/lfw/ibq/bundle/token_specific/seed1",
    "models/lfw/ibq/bundle/global/seed1"]' --store data/lfw/faces --split data/lfw/splits/seed1/index.parquet
    --out benchmarks/results/generalisation.md

The squared error of the nearest entries, in per cent of the latents' variance, on faces of people who trained and of
people who are tested: what differs is what the codebooks learned by heart. Beside it the same with centres of k-means
in the place of the entries, as many and shared alike, from all faces that trained and from a quarter of them (shared
centres from as many latents as one token has): what gradient steps could still win, and what more faces would bring.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.show import show
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.data.store import open_store
from stscq.quantization.initialise import token_centres
from stscq.quantization.lookup import lookup

TESTED = 2000
"""Faces on which errors are measured, of those who trained and of those who are tested."""


def error(z: Tensor, books: Tensor) -> float:
    """Per cent of the variance of z (N x T x d) that the nearest entries of books (S x K x d) leave."""
    left = torch.stack([torch.cdist(z[:, t], books[t % len(books)]).square().amin(1) for t in range(z.shape[1])])
    return float(100 * left.sum() / (z - z.mean(0)).square().sum())


def used(z: Tensor, books: Tensor) -> float:
    """Entries that some latent of its token chooses, a mean over tokens."""
    chosen = [torch.cdist(z[:, t], books[t % len(books)]).argmin(1).unique() for t in range(z.shape[1])]
    return float(np.mean([len(one) for one in chosen]))


def centres(z: Tensor, K: int, shared: bool) -> Tensor:
    """k-means centres of latents z (N x T x d): S x K x d, one codebook for all tokens or one for each."""
    if not shared:
        return token_centres(z, [K] * z.shape[1], seed=0)
    flat = z.flatten(0, 1)
    chosen = torch.randperm(len(flat), generator=torch.Generator().manual_seed(0))[: len(z)]
    return token_centres(flat[chosen, None], [K], seed=0)


def error_of(codec: Codec, images: np.ndarray, rows: np.ndarray, z: Tensor) -> float:
    """As `error`, of the entries that the codec itself chooses (for IBQ those of the largest inner product)."""
    chosen = lookup(codec.groups.__getitem__, codec.quantise(images, "nn", rows, z))
    return float(100 * (z - chosen).square().sum() / (z - z.mean(0)).square().sum())


def rows_of(codec: Codec, z: dict[str, Tensor]) -> list[dict[str, object]]:
    """Errors of a codec's own entries and of centres. z: latents of all who train, and of those measured."""
    own, sizes = codec.all_codebooks[0], codec.bundle.sizes
    books = {
        "its own": own,
        "k-means": centres(z["train"], sizes.K, sizes.shared),
        "k-means, a quarter of the faces": centres(z["train"][::4], sizes.K, sizes.shared),
    }
    return [
        {
            "codec": codec.bundle.name,
            "entries": name,
            "error, people who trained, %": error(z["trained"], book),
            "error, tested people, %": error(z["tested"], book),
            "entries used of a token": used(z["tested"], book),
        }
        for name, book in books.items()
    ]


@torch.no_grad()
def main(bundles: str, store: Path, split: Path, out: Path | None = None) -> None:
    """Prints a table, and writes it to OUT. BUNDLES: folders of one backbone and seed with one group, a JSON list."""
    images, _ = open_store(store)
    index = pd.read_parquet(split)
    codecs = [Codec.load(Path(one)) for one in json.loads(bundles)]
    train, test = (np.flatnonzero(index.split == part) for part in ("train", "test"))
    rows = np.concatenate([train, test[:TESTED]])
    latents = codecs[0].latents(images, rows)
    z = {"train": latents[: len(train)], "trained": latents[:TESTED], "tested": latents[len(train) :]}
    table = pd.DataFrame([row for codec in codecs for row in rows_of(codec, z)])
    searched = {c.bundle.name: error_of(c, images, test[:TESTED], z["tested"]) for c in codecs}
    of = f"{len(train):,} faces train; errors on {TESTED:,} of them, and on {len(z['tested']):,} of tested people."
    own = "; ".join(f"{name} {value:.1f} %" for name, value in searched.items())
    text = (
        f"# What codebooks learn by heart\n\n{of}\n\n{table.to_markdown(index=False, floatfmt='.1f')}\n\n"
        f"By the codec's own search, tested people: {own}.\n"
    )
    show(text, out)


if __name__ == "__main__":
    run(main)
