"""Two processes with half a batch each are one with the whole: what they draw, their losses, weights and files."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from filelock import FileLock
from torch import nn

from stscq import parallel, ranks
from stscq.checkpoint import load_checkpoint, load_tensors
from stscq.device import take_several
from stscq.errors import CheckpointError, ParamsError
from stscq.training import latents, loop, stage1_codebooks, stage1_tokenizer, stage2
from stscq.training.batches import changed, draw_changes, generator
from stscq.training.codebook_training import latents_of_step
from stscq.training.faces import training_batches
from stscq.training.launch import machines, names_of
from tests.conftest import ROOT
from tests.together import train
from tests.trained import ADVERSARY, CODEBOOKS, CPU, IBQ, STAGE2, STAGE3, TITOK, TOKENIZER

pytest.importorskip("accelerate")
LONGER = {"steps": 12, "save_seconds": 0, "revive_every": 3}


def as_rank(monkeypatch, rank, count):
    monkeypatch.setenv("STSCQ_TOGETHER", "1")
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(count))


def jobs(places, starts, out):
    """Name -> module and arguments: all stages, all metrics, images and kept latents."""
    faces = {name: places[name] for name in ("store", "split")}
    kept = {**faces, "latents": starts / "latents.npy"}
    found = {
        "tokenizer": ("stage1_tokenizer", {**places, **TOKENIZER, "accumulate": 2}),
        "titok": ("stage1_tokenizer", {**places, **TOKENIZER, "model": TITOK, "pixel_decoder": starts / "tuned"}),
        "ibq": ("stage1_tokenizer", {**places, **TOKENIZER, "model": IBQ}),
        "shared": ("stage1_codebooks", {**faces, **CODEBOOKS, **LONGER, "start": starts / "tuned"}),
        "shared_ibq": ("stage1_codebooks", {**faces, **CODEBOOKS, "selection": "nn", "start": starts / "ibq"}),
        "nearest": ("stage1_codebooks", {**kept, **CODEBOOKS, "selection": "nn", "start": starts / "tuned"}),
        "specific": ("stage2", {**kept, **STAGE2, **LONGER, "start": starts / "shared"}),
        "resumed": ("stage2", {**kept, **STAGE2, **LONGER, "start": starts / "shared"}),
        "decoder": ("stage3", {**places, **STAGE3, "start": starts / "specific"}),
        "misleading": ("stage3", {**places, **STAGE3, **ADVERSARY, "start": starts / "specific"}),
    }
    return {name: (module, {**arguments, "out": out / name}) for name, (module, arguments) in found.items()}


@pytest.fixture(scope="module")
def starts(places, tmp_path_factory):
    """What the stages under test start from."""
    out = tmp_path_factory.mktemp("starts")
    faces = {name: places[name] for name in ("store", "split")}
    stage1_tokenizer.main(**places, out=out / "tuned", **TOKENIZER)
    stage1_tokenizer.main(**places, out=out / "ibq", **{**TOKENIZER, "model": IBQ})
    latents.main(places["store"], places["split"], out / "tuned", out, seed=1, copies=1)
    stage1_codebooks.main(**faces, latents=out / "latents.npy", start=out / "tuned", out=out / "shared", **CODEBOOKS)
    stage2.main(**faces, latents=out / "latents.npy", start=out / "shared", out=out / "specific", **STAGE2)
    return out


@pytest.fixture(scope="module")
def alone(places, starts, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone")
    train([job for name, job in jobs(places, starts, out).items() if name != "resumed"])
    return out


@pytest.fixture(scope="module")
def together(places, starts, alone, tmp_path_factory):
    """The same jobs in two processes; `resumed` goes on from what one process alone had saved after five steps."""
    out = tmp_path_factory.mktemp("together")
    hand_over(alone / "specific.step5.safetensors", out / "resumed")
    done = launched(out, jobs(places, starts, out).values())
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("going on from step 5") == 1
    return out


def launched(out, jobs):
    file = out / "jobs.json"
    file.write_text(json.dumps(list(jobs), default=str))
    command = [sys.executable, "-m", "stscq.training.launch", "2", "tests.together", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def hand_over(saved, out):
    """What an unfinished run saved becomes that of another one, which has yet to begin."""
    unfinished = out.with_name(f"{out.name}.partial")
    unfinished.mkdir()
    shutil.copy(saved, unfinished / "state.safetensors")


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


NAMES = ("tokenizer", "titok", "ibq", "shared", "shared_ibq", "nearest", "specific", "decoder", "misleading")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_losses_of_two_processes_are_those_of_one(alone, together, name):
    for ours, theirs in zip(log(alone / name), log(together / name), strict=True):
        del ours["images_per_second"], theirs["images_per_second"]
        assert theirs == pytest.approx(ours, abs=1e-4), ours["step"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*NAMES, "resumed"])
def test_both_processes_end_with_the_same_weights_and_memories(together, name):
    first, second = (load_tensors(together / f"{name}.rank{rank}.safetensors")[0] for rank in (0, 1))
    assert first.keys() == second.keys()
    for key, tensor in first.items():
        assert torch.equal(tensor, second[key]), key


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_first_process_writes_what_one_alone_would(alone, together, name):
    assert {file.name for file in (together / name).iterdir()} == {file.name for file in (alone / name).iterdir()}
    assert not (together / f"{name}.partial").exists()
    (ours, recipe), (theirs, other) = (load_checkpoint(place / name) for place in (alone, together))
    assert recipe == other
    for key, tensor in ours.items():
        difference = (theirs[key] - tensor).float().norm() / tensor.float().norm().clamp(min=1e-6)
        assert difference < 0.05, key


@pytest.mark.slow
def test_revival_sees_the_whole_batch_in_both_processes(alone, together):
    """Records count latents of all processes: as many as one alone, for groups that got as many images."""
    ours, theirs = (load_tensors(place / "specific.step2.safetensors")[0] for place in (alone, together))
    assert ours["model.revival.seen"].sum() == 2 * STAGE2["batch"]
    for name in ("seen", "last", "stored"):
        assert torch.equal(ours[f"model.revival.{name}"], theirs[f"model.revival.{name}"]), name
    torch.testing.assert_close(ours["model.revival.latents"], theirs["model.revival.latents"])
    torch.testing.assert_close(ours["model.mean_use.mean"], theirs["model.mean_use.mean"], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(places, starts, alone, together, tmp_path, capsys):
    whole = load_checkpoint(alone / "specific")[0]["codebooks.weight"]
    resumed = load_checkpoint(together / "resumed")[0]["codebooks.weight"]
    assert (resumed - whole).norm() < 0.05 * whole.norm()

    hand_over(together / "specific.step7.safetensors", tmp_path / "resumed")
    train([jobs(places, starts, tmp_path)["resumed"]])
    assert "going on from step 7" in capsys.readouterr().err
    resumed = load_checkpoint(tmp_path / "resumed")[0]["codebooks.weight"]
    assert (resumed - load_checkpoint(together / "specific")[0]["codebooks.weight"]).norm() < 0.05 * whole.norm()


@pytest.mark.slow
def test_an_error_in_the_processes_ends_the_job_with_one(places, starts, tmp_path):
    module, arguments = jobs(places, starts, tmp_path)["decoder"]
    done = launched(tmp_path, [(module, {**arguments, "batch": 3})])
    assert done.returncode == 1
    assert "2 processes cannot share 3 images evenly" in done.stderr
    assert done.stderr.endswith("error: one of the processes ended with an error; its own line stands above\n")


@pytest.mark.parametrize("count", [2, 4])
def test_the_shares_of_all_processes_are_the_batch(faces, split, monkeypatch, count):
    batches = training_batches(faces, split / "index.parquet", 8, 1, CPU)
    kept = torch.randn(2, len(batches.rows), 3, 2)
    whole, latents = batches.draw(7, part=1), latents_of_step(nn.Identity(), batches, kept)(7)
    draws, drawn = [], []
    for rank in range(count):
        as_rank(monkeypatch, rank, count)
        draws.append(batches.draw(7, part=1))
        drawn.append(latents_of_step(nn.Identity(), batches, kept)(7))
    assert torch.equal(torch.cat([draw.images for draw in draws]), whole.images)
    assert torch.equal(torch.cat([draw.chosen for draw in draws]), whole.chosen)
    assert torch.equal(torch.cat(drawn), latents)


def test_a_share_of_changes_changes_a_share_of_images():
    images = torch.rand(6, 3, 32, 32)
    changes = draw_changes(6, 32, generator(1, "batch", 0))
    assert torch.equal(changed(images, changes)[2:4], changed(images[2:4], changes.of(slice(2, 4))))


def test_a_batch_that_cannot_be_shared_is_refused(monkeypatch):
    as_rank(monkeypatch, 1, 3)
    assert parallel.share(6) == slice(2, 4)
    with pytest.raises(ParamsError, match="3 processes cannot share 8 images evenly"):
        parallel.share(8)


def test_one_process_gets_back_what_it_gives():
    x = torch.randn(3, requires_grad=True)
    assert parallel.averaged(x) is x
    assert parallel.gathered(x) is x
    assert parallel.told_by_main(lambda: 5) == 5


def test_processes_that_found_different_unfinished_runs_stop(monkeypatch, tmp_path):
    as_rank(monkeypatch, 1, 2)
    monkeypatch.setattr(parallel, "told_by_main", lambda say: 40)
    with pytest.raises(CheckpointError, match=r"of step 20 in process 1, of 40 in the first"):
        loop.start_together(nn.Identity(), 20, tmp_path / "state.safetensors")


def test_a_world_that_a_cluster_speaks_of_makes_no_job_wait_for_others(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "2")
    assert (ranks.count(), ranks.rank(), ranks.is_main()) == (1, 0, True)
    assert parallel.told_by_main(lambda: 5) == 5


def test_only_the_first_process_keeps_the_record(monkeypatch):
    from stscq import cli_tools

    monkeypatch.setattr(sys.modules["__main__"], "__spec__", type("Spec", (), {"name": "stscq.training.stage3"}))
    assert cli_tools.recorded(print) is not print
    as_rank(monkeypatch, 1, 2)
    assert not ranks.is_main()
    assert cli_tools.recorded(print) is print


def test_a_job_takes_several_gpus_and_leaves_those_that_others_hold(tmp_path):
    others = FileLock(tmp_path / "1")
    with others:
        locks = [FileLock(tmp_path / str(number)) for number in range(4)]
        assert take_several(locks, 3, FileLock(tmp_path / "turn"), poll_seconds=0.01) == [0, 2, 3]
        assert not FileLock(tmp_path / "turn").is_locked
        for number in (0, 2, 3):
            assert locks[number].is_locked
    for held in locks:
        held.release(force=True)


def test_many_machines_are_told_of_each_other():
    assert machines(4, {}) == ["--num_machines", "1", "--num_processes", "4", "--main_process_port", "0"]
    said = {"NNODES": "3", "NODE_RANK": "2", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}
    words = machines(4, said)
    assert dict(zip(words[::2], words[1::2], strict=True)) == {
        "--num_machines": "3", "--num_processes": "12", "--machine_rank": "2", "--main_process_ip": "node0",
        "--main_process_port": "29500",
    }  # fmt: skip
    with pytest.raises(ParamsError, match="NNODES=3: set NODE_RANK, MASTER_PORT, too"):
        machines(4, {"NNODES": "3", "MASTER_ADDR": "node0"})


def test_gpus_are_named_as_they_are_visible():
    assert names_of([0, 2], None) == "0,2"
    assert names_of([0, 2], "4,5,7") == "4,7"
    assert names_of([1], "GPU-a,GPU-b") == "GPU-b"
