"""What tests of a few seconds train: settings of each stage, and the stages trained with them once a session."""

import json

import pytest
import torch

from stscq.checkpoint import load_checkpoint
from stscq.training import latents, stage1_codebooks, stage1_tokenizer, stage2

SMALL_RECOGNISER = '{"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1], "stem_stride": 2, "embedding": 16}'
SMALL_MASKGIT = json.dumps(
    {"family": "maskgit_vqgan", "image_size": 32, "channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "d": 8, "K": 16}
)
CPU = torch.device("cpu")
IMAGE = {"reconstruction": 1.0, "perceptual": 0.1, "identity": 0.1}
TOKENIZER = {
    "model": SMALL_MASKGIT, "seed": 1, "steps": 6, "continuous_steps": 3, "batch": 4, "lr": 0.002, "weight_decay": 0.01,
    "codebook": 1.0, "commitment": 0.25, "entropy": 0.05, **IMAGE,
}  # fmt: skip
STAGE2 = {
    "shared": False, "seed": 1, "steps": 8, "batch": 8, "lr": 0.005, "weight_decay": 0.0, "codebook": 1.0,
    "entropy": 0.05, "balance": 1.0, "confidence": 0.1, "quality": 1.0, "revive_every": 3,
}  # fmt: skip
CODEBOOKS = {
    **{name: value for name, value in STAGE2.items() if name != "shared"},
    "groups": 4, "entries": 8, "selection": "router", "rank": 4, "jitter": 0.05,
}  # fmt: skip
ADVERSARY = {"adversarial": 0.1, "adversarial_start": 1, "adversarial_channels": 32}
STAGE3 = {"seed": 1, "steps": 4, "batch": 4, "lr": 0.001, "weight_decay": 0.0, **IMAGE}
TITOK = json.dumps(
    {
        "family": "titok", "image_size": 32, "patch": 4, "width": 32, "layers": 1, "heads": 2, "T": 8, "K": 16, "d": 6,
        "K_pixel": 16, "d_pixel": 8, "hidden": 32, "pixel_channels": 8,
        "pixel_multipliers": [1, 1, 2], "pixel_blocks": 1,
    }
)  # fmt: skip
IBQ = SMALL_MASKGIT.replace("maskgit_vqgan", "ibq")


@pytest.fixture(scope="session")
def tuned(places, tmp_path_factory):
    """A finished tokenizer."""
    out = tmp_path_factory.mktemp("tokenizer") / "seed1"
    stage1_tokenizer.main(**places, out=out, **TOKENIZER)
    return out


@pytest.fixture(scope="session")
def kept(places, tuned, tmp_path_factory):
    """The kept latents of that tokenizer."""
    out = tmp_path_factory.mktemp("latents")
    latents.main(places["store"], places["split"], tuned, out, seed=1, copies=1)
    return out / "latents.npy"


@pytest.fixture(scope="session")
def latent_places(places, kept):
    """Where the stages that see no image after the encoder find what they need."""
    return {"store": places["store"], "split": places["split"], "latents": kept}


@pytest.fixture(scope="session")
def first(latent_places, tuned, tmp_path_factory):
    """A finished stage 1 with a router."""
    out = tmp_path_factory.mktemp("stage1") / "seed1"
    stage1_codebooks.main(**latent_places, start=tuned, out=out, **CODEBOOKS)
    return out


@pytest.fixture(scope="session")
def second(latent_places, first, tmp_path_factory):
    """A finished stage 2 with a router."""
    out = tmp_path_factory.mktemp("stage2") / "seed1"
    stage2.main(**latent_places, start=first, out=out, **STAGE2)
    return out


def train_stages_1_and_2(places, start, out, precision="fp32"):
    """From a tokenizer in START; writes OUT/one and OUT/two."""
    faces = {name: path for name, path in places.items() if name != "recogniser"}
    stage1_codebooks.main(**faces, start=start, out=out / "one", precision=precision, **CODEBOOKS)
    stage2.main(**faces, start=out / "one", out=out / "two", precision=precision, **STAGE2)


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def weights(folder):
    return load_checkpoint(folder)[0]


def stop_after(save):
    """A program that is stopped as soon as its state is saved."""

    def saved(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    return saved
