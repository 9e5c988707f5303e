"""A bundle of every kind of variant, from untrained models: what a codec does with bytes does not hang on training."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stscq.backbones import build
from stscq.codec import commands
from stscq.codec.api import Codec
from stscq.codec.bitstream.context import ImageTables, no_context
from stscq.codec.bitstream.fit_context import TrainingSymbols, fit_context
from stscq.codec.bitstream.symbol_tables import fit
from stscq.codec.bundle.card import EXPECTED, write_card
from stscq.codec.bundle.push import push
from stscq.codec.bundle.read import Bundle
from stscq.codec.bundle.write import write_bundle, write_tables
from stscq.codec.export import entries_of
from stscq.data.store import open_store
from stscq.errors import StscqError
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.router import Router
from stscq.quantization.trained_codec import TrainedCodec
from stscq.training.encode import encode_rows
from tests import hub as stand_in

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
VARIANTS = {  # family, token-shared, groups, entries, router
    "global": ("maskgit_vqgan", True, 1, 16, False),
    "token_specific": ("ibq", False, 1, 16, False),
    "token_shared": ("titok", True, 4, 8, True),
    "switchable": ("titok", False, 4, 8, True),
    "switchable_nn": ("titok", False, 4, 8, False),
    "switchable_conv": ("maskgit_vqgan", False, 8, 4, True),
    "switchable_ibq": ("ibq", False, 2, 8, True),
    "unequal": ("maskgit_vqgan", False, 1, [1, 2, 4, 8, 16, 16, 8, 2] * 8, False),
    "unequal_ibq": ("ibq", False, 1, [4, 1, 16, 2] * 16, False),
    "unequal_switchable": ("titok", False, 4, [8, 1, 4, 8, 2, 8, 1, 2], True),
}
ROUTED = [name for name, variant in VARIANTS.items() if variant[4]]


def make_bundle(folder, faces, family, shared, groups, entries, router, seed=7):
    """An untrained model whose codebooks are latents of faces, with the statistics of the first 300.

    entries: K, or K_j of each token.
    """
    torch.manual_seed(seed)
    tokenizer = build(**MODELS[family]).requires_grad_(False)
    tokenizer.initialise()
    tokenizer.take_codebook()
    latents = encode_rows(tokenizer, faces, np.arange(0, 400, 8))
    unequal = entries if isinstance(entries, list) else None
    entries = max(unequal) if unequal else entries
    if shared:  # latents of any token
        flat = latents.flatten(0, 1)
        weight = torch.stack([flat[torch.randperm(len(flat))[:entries]] for _ in range(groups)])[:, None]
    else:  # of each token its own
        weight = torch.stack([latents[torch.randperm(len(latents))[:entries]].transpose(0, 1) for _ in range(groups)])
    network = Router(groups, tokenizer.T, tokenizer.d, 4) if router else None
    weight = weight.clone()
    if unequal:
        weight[:, torch.arange(entries) >= torch.tensor(unequal)[:, None]] = 0
    trained = TrainedCodec(tokenizer, Codebooks(weight, tokenizer.metric, entries=unequal), network)
    write_bundle(folder, trained, MODELS[family], SIZE, folder.name)
    codec = Codec.load(folder)
    group, index = codec.quantise(faces[:300])
    symbols = TrainingSymbols(group.numpy(), index.numpy(), np.arange(300) // 10)
    tables = fit(*symbols, groups, entries, unequal).tables
    fitted = fit_context(symbols, lambda i: entries_of(codec, i), groups, entries, unequal)
    features = [fitted.basis.features(entries_of(codec, i)) for i in range(groups)] if fitted.basis else []
    write_tables(folder, tables, fitted.context, features, codec.bundle.description)
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


def fixed_tables(tables):
    """These tables (T x K), whatever the tokens are."""
    return ImageTables(no_context(len(tables)), tables, np.zeros((*tables.shape, 0), np.int8))


def change_json(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.fixture(scope="session")
def model(bundles):
    return bundles["switchable"]


@pytest.fixture
def here(pictures, tmp_path, monkeypatch):
    """We are in a folder with D, which has four photos in two folders and a text, and one.stscq and D.stscq of them."""
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        place = Path(f"D/{'ab'[i % 2]}/{i}.png")
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pictures[i]).save(place)
    Path("D/notes.txt").write_text("notes")
    return tmp_path


@pytest.fixture
def packed(here, model):
    pack("D", out="D.stscq", model=model)
    pack("D/a/0.png", out="one.stscq", model=model)
    return here


def pack(*paths, out, model, force=False):
    return commands.compress([str(path) for path in paths], str(out), model, None, True, 1, True, force)


def unpack(*files, out, model, only=(), force=False):
    return commands.decompress([str(file) for file in files], str(out), model, only, 1, True, force)


def everything(folder=Path()):
    """Every file here and what is in it, links and hard links as they are."""
    return {
        path: (path.lstat().st_ino, path.readlink() if path.is_symlink() else path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def refused(words, call, *arguments, unchanged=everything, **options):
    """It ends in one line, and what `unchanged` looks at is as before."""
    before = unchanged()
    with pytest.raises(StscqError, match=words) as problem:
        call(*arguments, **options)
    assert "\n" not in str(problem.value)
    assert unchanged() == before


def ways_to(file):
    """Other paths to a file, and links to it of both kinds."""
    Path("linked").symlink_to(Path(file).absolute())
    Path("folder").symlink_to(Path(file).parent.absolute())
    os.link(file, "hard")
    return [
        file,
        f"./{file}",
        f"D/../{file}",
        str(Path(file).absolute()),
        "linked",
        f"folder/{Path(file).name}",
        "hard",
    ]


HUB_NAME = "someone/faces"
HUB_FILES = {
    *("bundle.json", "card.json", "README.md", "encoder.safetensors", "decoder.safetensors", "codebooks.safetensors"),
    *("router.safetensors", "tables.safetensors", "context.safetensors"),
}
CARD_MEASURED = {"selections.router.mean_acc": 75.24, "selections.router.psnr": 19.5, "selections.router.bits": 132}


def with_card(folder, **model):
    """A bundle gets a card."""
    bundle = Bundle(folder)
    card = {
        "title": "small",
        "model": {"fingerprint": bundle.fingerprint.hex(), **model},
        "training": {"profile": "demo", "people": 20},
        "rate": {EXPECTED: 124.2},
        "measured": CARD_MEASURED,
    }
    write_card(folder, card)
    return folder


@pytest.fixture
def bundle(bundles, tmp_path):
    """One with a card."""
    return with_card(shutil.copytree(bundles["switchable"], tmp_path / "bundle"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for the Hugging Face hub."""
    monkeypatch.chdir(tmp_path)
    with stand_in.running() as hub:
        stand_in.use(hub, monkeypatch, tmp_path / "cache")
        yield hub


@pytest.fixture
def pushed(hub, bundle):
    """The repository that the bundle was pushed to."""
    push(bundle, HUB_NAME, private=False)
    hub.requests.clear()
    return hub.repositories[HUB_NAME]
