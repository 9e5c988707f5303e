"""Runs that were killed or stopped go on to the weights of an unbroken one; states and checkpoints that do not fit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from stscq.checkpoint import load_tensors
from stscq.errors import CheckpointError
from stscq.quantization.trained_codec import load_codec
from stscq.training import stage1_tokenizer, stage2
from tests.conftest import ROOT
from tests.trained import CPU, STAGE2, TOKENIZER, same_tensors, stop_after, weights


def command(places, out, save_seconds, steps):
    arguments = {
        **places,
        "out": out,
        **TOKENIZER,
        "steps": steps,
        "continuous_steps": steps // 2,
        "save_seconds": save_seconds,
    }
    flags = [word for name, value in arguments.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", "stscq.training.stage1_tokenizer", *flags]


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.15, 0.45, 0.7])
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
    stage1_tokenizer.main(**places, out=tmp_path / "one", **TOKENIZER)
    partial = tmp_path / "two.partial"
    partial.mkdir()
    from stscq.checkpoint import save_tensors

    save_tensors(
        {"model.x": torch.zeros(1)}, partial / "state.safetensors", {"step": 5, "recipe_hash": "of another run"}
    )
    stage1_tokenizer.main(**places, out=tmp_path / "two", **TOKENIZER)
    assert "left by a run with other parameters" in capsys.readouterr().err
    assert same_tensors(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_an_unfinished_stage_2_goes_on_with_what_it_remembers(
    latent_places, first, second, tmp_path, monkeypatch, capsys
):
    """Records and latents of revival, and ḡ: stopped after every step, the weights are those of an unbroken run."""
    from stscq.training import loop

    numbers = {**STAGE2, "batch": 8, "save_seconds": 0}
    for _ in range(STAGE2["steps"] - 1):
        monkeypatch.setattr(loop, "save_tensors", stop_after(loop.save_tensors))
        with pytest.raises(KeyboardInterrupt):
            stage2.main(**latent_places, start=first, out=tmp_path / "two", **numbers)
        monkeypatch.undo()
    stage2.main(**latent_places, start=first, out=tmp_path / "two", **numbers)
    assert capsys.readouterr().err.count("going on from step") == STAGE2["steps"] - 1
    assert same_tensors(weights(second), weights(tmp_path / "two"))


def test_a_state_of_other_code_is_not_used(latent_places, first, second, tmp_path, capsys):
    """It has the same recipe, and other tensors."""
    from stscq.checkpoint import save_tensors
    from stscq.training import loop

    state = tmp_path / "state.safetensors"
    save_tensors({"model.old": torch.zeros(1)}, state, {"step": 5, "recipe_hash": "same"})
    codec, _ = load_codec(first, CPU)
    optimiser = loop.Optimiser(codec.codebooks, 0.1, 0.0, "fp32")
    assert loop.resume(codec.codebooks, optimiser, state, "same") == 0
    assert "another version of the code" in capsys.readouterr().err


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
