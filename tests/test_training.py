"""The stages: same seed, same weights; killed at any moment, same weights; who may be trained on; what is frozen."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from stscq.backbones import build
from stscq.checkpoint import load_checkpoint, load_tensors
from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.errors import CheckpointError, ParamsError
from stscq.quantization.losses import RouterLossWeights
from stscq.quantization.trained_codec import load_codec
from stscq.recognition.frozen import load_frozen
from stscq.training import stage1, stage2, stage3
from stscq.training.batches import augment, generator
from stscq.training.encode import encode_rows
from stscq.training.faces import training_batches
from stscq.training.loop import learning_rate
from stscq.training.losses import ImageLossWeights
from tests.conftest import ROOT, SMALL_MASKGIT

CPU = torch.device("cpu")
IMAGE = {"reconstruction": 1.0, "perceptual": 0.1, "identity": 0.1}
STAGE1 = {
    "model": SMALL_MASKGIT, "seed": 1, "steps": 6, "continuous_steps": 3, "batch": 4, "lr": 0.002, "weight_decay": 0.01,
    "codebook": 1.0, "commitment": 0.25, "entropy": 0.05, **IMAGE,
}  # fmt: skip
STAGE2 = {
    "shared": False, "groups": 4, "entries": 8, "selection": "router", "seed": 1, "steps": 8, "batch": 8, "lr": 0.005,
    "weight_decay": 0.0, "codebook": 1.0, "entropy": 0.05, "reconstruction": 0.0, "perceptual": 0.0, "identity": 0.0,
    "balance": 1.0, "confidence": 0.1, "expected_error": 1.0, "rank": 4, "jitter": 0.05, "revive_every": 3,
}  # fmt: skip
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
def first(places, tmp_path_factory):
    """A finished stage 1."""
    out = tmp_path_factory.mktemp("stage1") / "seed1"
    stage1.main(**places, out=out, **STAGE1)
    return out


@pytest.fixture(scope="session")
def second(places, first, tmp_path_factory):
    """A finished stage 2 with a router."""
    out = tmp_path_factory.mktemp("stage2") / "seed1"
    stage2.main(**places, start=first, out=out, **STAGE2)
    return out


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def weights(folder):
    return load_checkpoint(folder)[0]


def test_same_seed_same_weights(places, first, second, tmp_path):
    stage1.main(**places, out=tmp_path / "one", **STAGE1)
    assert same_tensors(weights(first), weights(tmp_path / "one"))
    stage2.main(**places, start=first, out=tmp_path / "two", **STAGE2)
    assert same_tensors(weights(second), weights(tmp_path / "two"))
    stage2.main(**places, start=first, out=tmp_path / "other", **{**STAGE2, "seed": 2})
    assert not same_tensors(weights(second), weights(tmp_path / "other"))


def test_stage2_trains_codebooks_and_router_only(first, second):
    before, after = weights(first), weights(second)
    for name, tensor in before.items():
        if name.startswith("tokenizer."):
            assert torch.equal(tensor, after[name]), name
    assert after["codebooks.weight"].shape == (4, 64, 8, 8)
    assert "router.head.weight" in after


def test_stage3_trains_the_decoder_only(places, second, tmp_path):
    stage3.main(**places, start=second, out=tmp_path / "three", **STAGE3)
    before, after = weights(second), weights(tmp_path / "three")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("tokenizer.decoder.")}
    assert load_checkpoint(tmp_path / "three")[1]["groups"] == 4


def test_compute_matched_baseline_keeps_one_shared_codebook(places, first, tmp_path):
    shared = {**STAGE2, "shared": True, "groups": 1, "entries": 16, "selection": "nn"}
    stage2.main(**places, start=first, out=tmp_path / "global", **shared)
    before, after = weights(first)["codebooks.weight"], weights(tmp_path / "global")["codebooks.weight"]
    assert after.shape == before.shape == (1, 1, 16, 8)
    assert not torch.equal(before, after)


@pytest.mark.parametrize("model", [TITOK, IBQ])
def test_the_other_families_train(places, first, model, tmp_path):
    pixel_decoder = first if model == TITOK else None
    stage1.main(**places, out=tmp_path / "one", pixel_decoder=pixel_decoder, **{**STAGE1, "model": model})
    stage2.main(**places, start=tmp_path / "one", out=tmp_path / "two", **STAGE2)
    codec, _ = load_codec(tmp_path / "two", CPU)
    assert codec.codebooks.weight.shape[:2] == (4, codec.tokenizer.T)
    assert torch.isfinite(codec.codebooks.weight).all()


def test_pixel_decoder_of_another_size_is_refused(places, first, tmp_path):
    coarse = TITOK.replace('"patch": 4', '"patch": 8')
    with pytest.raises(CheckpointError, match="a grid of 8, TiTok's is 4"):
        stage1.main(**places, out=tmp_path / "one", pixel_decoder=first, **{**STAGE1, "model": coarse})
    wide = TITOK.replace('"pixel_channels": 8', '"pixel_channels": 16')
    with pytest.raises(CheckpointError, match="does not fit TiTok's pixel decoder"):
        stage1.main(**places, out=tmp_path / "one", pixel_decoder=first, **{**STAGE1, "model": wide})
    with pytest.raises(CheckpointError, match="goes from a MaskGIT-VQGAN to a TiTok"):
        stage1.main(**places, out=tmp_path / "one", pixel_decoder=first, **STAGE1)


def test_stage_1_starts_from_published_weights(places, faces, tmp_path):
    torch.manual_seed(5)
    public = build(**{**json.loads(SMALL_MASKGIT), "K": 4})
    save_file(
        {name: tensor.contiguous() for name, tensor in public.state_dict().items()}, tmp_path / "public.safetensors"
    )
    images = open_store(faces).images[:20]
    model = json.loads(SMALL_MASKGIT)
    tokenizer, book = stage1.start_tokenizer(model, tmp_path / "public.safetensors", images, 1, CPU)
    assert torch.equal(tokenizer.encoder.conv_in.weight, public.encoder.conv_in.weight)
    assert torch.equal(book[:4], public.quantize.embedding.weight)
    z_e = encode_rows(tokenizer, images, np.arange(20)).flatten(0, 1)
    assert book.shape == (16, 8)
    assert all((z_e == entry).all(1).any() for entry in book[4:])  # the new entries are latents
    with pytest.raises(ParamsError, match=r"model.K = 2 is less than the 4 entries of .*public\.safetensors"):
        stage1.start_tokenizer({**model, "K": 2}, tmp_path / "public.safetensors", images, 1, CPU)
    with pytest.raises(CheckpointError, match=r"public\.safetensors: not the weights of this IBQ"):
        stage1.start_tokenizer(json.loads(IBQ), tmp_path / "public.safetensors", images, 1, CPU)
    published = {**STAGE1, "continuous_steps": 0, "published": tmp_path / "public.safetensors"}
    stage1.main(**places, out=tmp_path / "one", **published)
    assert load_codec(tmp_path / "one", CPU)[0].codebooks.K == 16


def test_only_training_people_are_drawn(faces, split):
    batches = training_batches(faces, split / "index.parquet", 500, 1, CPU)
    index = pd.read_parquet(split / "index.parquet")
    assert set(index.split[batches.rows]) == {"train"}
    chosen = batches.draw(1).chosen.numpy()
    assert set(index.identity[batches.rows[chosen]]) <= set(index.identity[index.split == "train"])
    # A store without test people: everybody trains.
    assert len(training_batches(faces, faces / "index.parquet", 1, 1, CPU).rows) == 400


def test_a_batch_depends_on_seed_step_and_part_alone(faces, split):
    batches = training_batches(faces, split / "index.parquet", 4, 1, CPU)
    first = batches.draw(7).images
    torch.rand(100)
    assert torch.equal(first, batches.draw(7).images)
    for other in (batches.draw(8), batches.draw(7, part=1), batches._replace(seed=2).draw(7)):
        assert not torch.equal(first, other.images)


def test_streams_of_one_step_differ():
    drawn = {
        tuple(torch.randint(0, 1 << 30, (4,), generator=generator(*key)).tolist())
        for key in [(1, "batch", 20), (1, "revive", 20), (1, "batch", 21), (2, "batch", 20), (1, "batch", 20, 1)]
    }
    assert len(drawn) == 5
    again = torch.randint(0, 1 << 30, (4,), generator=generator(1, "revive", 20))
    assert tuple(again.tolist()) in drawn


def test_the_loss_of_stage_2_is_its_weighted_terms(second, faces, recogniser):
    codec, _ = load_codec(second, CPU)
    batch = to_float(open_store(faces).images[:8])
    z_e = codec.tokenizer.encode(batch).detach()
    router, image = RouterLossWeights(1.0, 0.1, 0.5), ImageLossWeights(0.0, 0.0, 0.0)
    terms, assignment = stage2.stage2_loss(codec, z_e, batch, None, stage2.Stage2Weights(2.0, 0.0, router, image))
    expected = 2 * terms["codebook"] + terms["balance"] + 0.1 * terms["confidence"] + 0.5 * terms["expected_error"]
    torch.testing.assert_close(terms["loss"], expected)
    assert torch.equal(assignment.group, codec.router(z_e).argmax(1))
    assert terms["groups"] == len(assignment.group.unique())
    image = ImageLossWeights(1.0, 0.1, 0.1)
    frozen = load_frozen(recogniser, CPU)
    more, _ = stage2.stage2_loss(codec, z_e, batch, frozen, stage2.Stage2Weights(2.0, 0.0, router, image))
    painted = more["pixels"] + 0.1 * more["perceptual"] + 0.1 * more["identity"]
    torch.testing.assert_close(more["loss"], expected + painted)


def test_the_loss_of_stage_3_reaches_the_decoder_alone(second, faces, recogniser):
    codec, _ = load_codec(second, CPU)
    batch = to_float(open_store(faces).images[:4])
    terms = stage3.stage3_loss(codec, batch, load_frozen(recogniser, CPU), ImageLossWeights(1.0, 0.1, 0.1))
    torch.testing.assert_close(terms["loss"], terms["pixels"] + 0.1 * terms["perceptual"] + 0.1 * terms["identity"])
    terms["loss"].backward()
    assert all(p.grad is not None for p in codec.tokenizer.decoder.parameters())
    frozen = [*codec.tokenizer.encoder.parameters(), codec.codebooks.weight, *codec.router.parameters()]
    assert all(p.grad is None for p in frozen)


def test_augmented_faces_stay_in_range():
    faces = augment(torch.rand(64, 3, 32, 32), generator(0, "batch", 0))
    assert faces.shape == (64, 3, 32, 32)
    assert 0 <= faces.min() <= faces.max() <= 1


def test_learning_rate_rises_and_falls():
    rates = [learning_rate(s, 100, 1.0, 5) for s in range(100)]
    assert rates[0] == 0.2
    assert max(rates) == rates[4] == rates[5] == 1.0
    assert rates[52] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] < 0.001


def command(places, out, save_seconds, steps):
    arguments = {
        **places,
        "out": out,
        **STAGE1,
        "steps": steps,
        "continuous_steps": steps // 2,
        "save_seconds": save_seconds,
    }
    flags = [word for name, value in arguments.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "stscq.training.stage1", *flags]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.15, 0.5, 0.85])
def test_killed_run_ends_at_the_weights_of_an_unbroken_one(places, tmp_path, moment):
    steps = 80
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(places, tmp_path / "whole", 1000, steps), check=True, cwd=ROOT, env=environment)

    broken = command(places, tmp_path / "broken", 0, steps)  # saves after every step
    state = tmp_path / "broken.partial" / "state.safetensors"
    process = subprocess.Popen(broken, cwd=ROOT, env=environment)
    while not state.exists() or load_tensors(state)[1]["step"] < moment * steps:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "broken").exists()
    reached = load_tensors(state)[1]["step"]
    again = subprocess.run(broken, check=True, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert f"going on from step {reached}" in again.stderr
    assert same_tensors(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    assert not state.exists()

    logs = [
        [json.loads(line) for line in (tmp_path / n / "log.jsonl").read_text().splitlines()]
        for n in ("whole", "broken")
    ]
    for a, b in zip(*logs, strict=True):
        assert (a["step"], a["loss"]) == (b["step"], b["loss"])


def test_state_of_another_recipe_is_not_used(places, tmp_path, capsys):
    stage1.main(**places, out=tmp_path / "one", **STAGE1)
    partial = tmp_path / "two.partial"
    partial.mkdir()
    from stscq.checkpoint import save_tensors

    save_tensors(
        {"model.x": torch.zeros(1)}, partial / "state.safetensors", {"step": 5, "recipe_hash": "of another run"}
    )
    stage1.main(**places, out=tmp_path / "two", **STAGE1)
    assert "left by a run with other parameters" in capsys.readouterr().err
    assert same_tensors(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_damaged_checkpoints_are_refused(first, tmp_path):
    for name in ("recipe.json", "weights.safetensors"):
        (tmp_path / name).write_bytes((first / name).read_bytes())
    whole = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: missing or damaged"):
        load_codec(tmp_path, CPU)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"recipe\.json"):
        load_codec(tmp_path, CPU)


def open_images(faces):
    from stscq.data.store import open_store

    return open_store(faces).images


def test_titok_takes_over_the_decoder(first, faces):
    teacher, _ = load_codec(first, CPU)
    titok = build(**json.loads(TITOK))
    stage1.start_titok(titok, teacher, first, np.asarray(open_images(faces)[:20]), seed=0)
    assert titok.pixel_quantize.embedding.weight.std() > 0.1 * teacher.codebooks.weight.std()
    assert same_tensors(titok.pixel_decoder.state_dict(), teacher.tokenizer.decoder.state_dict())
