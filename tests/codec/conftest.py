"""A bundle of every kind of variant, from untrained models: what a codec does with bytes does not hang on training."""

import json

import numpy as np
import pytest
import torch

from stscq.backbones import build
from stscq.codec.api import Codec
from stscq.codec.context import Reading, silent
from stscq.codec.export import entries_of
from stscq.codec.fit_context import Symbols, fit_context
from stscq.codec.statistics import fit
from stscq.codec.write_bundle import write_bundle, write_tables
from stscq.data.store import open_store
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.initialise import token_specific
from stscq.quantization.router import Router
from stscq.training.encode import encode_rows
from stscq.training.tokenizer_io import TrainedCodec

SIZE = 32
CONV = {"image_size": SIZE, "channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "d": 8, "K": 16}
MODELS = {
    "maskgit_vqgan": {"family": "maskgit_vqgan", **CONV},
    "ibq": {"family": "ibq", **CONV},
    "titok": {
        "family": "titok", "image_size": SIZE, "patch": 4, "width": 32, "layers": 1, "heads": 2, "T": 8, "K": 16,
        "d": 6, "K_pixel": 16, "d_pixel": 8, "hidden": 32, "pixel_channels": 8, "pixel_multipliers": [1, 1, 2],
        "pixel_blocks": 1,
    },
}  # fmt: skip
VARIANTS = {  # family, groups, entries (0: the shared book of stage 1), router
    "global": ("maskgit_vqgan", 1, 0, False),
    "token_specific": ("ibq", 1, 16, False),
    "switchable": ("titok", 4, 8, True),
    "switchable_nn": ("titok", 4, 8, False),
    "switchable_conv": ("maskgit_vqgan", 8, 4, True),
    "switchable_ibq": ("ibq", 2, 8, True),
}
ROUTED = [name for name, variant in VARIANTS.items() if variant[3]]


def make_bundle(folder, faces, family, groups, entries, router, seed=7):
    """An untrained model whose codebooks are latents of faces, with the statistics of the first 300."""
    torch.manual_seed(seed)
    tokenizer = build(**MODELS[family]).requires_grad_(False)
    tokenizer.initialise()
    tokenizer.take_codebook()
    latents = encode_rows(tokenizer, faces, np.arange(0, 400, 8))
    flat = latents.flatten(0, 1)
    book = flat[torch.randperm(len(flat))[:16]].clone()
    weight = (
        token_specific(book, latents, entries, groups, tokenizer.metric, 0.1, seed) if entries else book[None, None]
    )
    found = Router(groups, tokenizer.T, tokenizer.d, 4) if router else None
    trained = TrainedCodec(tokenizer, Codebooks(weight.clone(), tokenizer.metric), found)
    write_bundle(folder, trained, MODELS[family], SIZE, folder.name)
    codec = Codec.load(folder)
    group, index = codec.assign(faces[:300])
    symbols = Symbols(group.numpy(), index.numpy(), np.arange(300) // 10)
    tables = fit(*symbols, groups, weight.shape[2]).tables
    found = fit_context(symbols, lambda i: entries_of(codec, i), groups, weight.shape[2])
    features = [found.basis.features(entries_of(codec, i)) for i in range(groups)] if found.basis else []
    write_tables(folder, tables, found.context, features, codec.bundle.said)
    return folder


@pytest.fixture(scope="session")
def pictures(faces):
    """All 400 faces, 400 x 32 x 32 x 3."""
    return np.array(open_store(faces).images)


@pytest.fixture(scope="session")
def bundles(pictures, tmp_path_factory):
    """A folder for each of VARIANTS."""
    root = tmp_path_factory.mktemp("bundles")
    return {name: make_bundle(root / name, pictures, *variant) for name, variant in VARIANTS.items()}


@pytest.fixture(scope="session")
def codec(bundles):
    """One with groups and a router."""
    return Codec.load(bundles["switchable"])


def plain_reading(tables):
    """These tables (T x K), whatever the tokens are."""
    return Reading(silent(len(tables)), tables, np.zeros((*tables.shape, 0), np.int8))


def change_json(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
