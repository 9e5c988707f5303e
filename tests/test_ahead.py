"""Batches that other processes read: the same draws, whatever is asked, and nobody left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from stscq.errors import ParamsError
from stscq.training.ahead import Keys, ReadAhead, draws_of
from stscq.training.batches import changed, draw_changes, generator, reach
from stscq.training.faces import training_batches
from tests.conftest import ROOT
from tests.trained import CPU


@pytest.fixture
def batches(faces, split):
    return training_batches(faces, split / "index.parquet", 6, 1, CPU)


def test_keys_go_through_the_parts_of_each_step():
    keys = iter(Keys((4, 1), parts=3))
    assert [next(keys) for _ in range(6)] == [(4, 1), (4, 2), (5, 0), (5, 1), (5, 2), (6, 0)]


@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
def test_what_is_read_ahead_is_what_is_drawn(batches, parts):
    ahead = ReadAhead(batches, parts, readers=2)
    keys = [(step, part) for step in (0, 1, 2, 7, 8, 3) for part in range(parts)]  # a run may go on at any step
    for key in keys:
        found, expected = ahead.draw(*key), batches.draw(*key)
        assert torch.equal(found.images, expected.images)
        assert torch.equal(found.chosen, expected.chosen)
        assert found.images.is_contiguous(memory_format=torch.channels_last)


def test_on_the_cpu_nothing_is_read_ahead(batches):
    assert draws_of(batches, 2) == batches.draw


def test_a_batch_that_processes_cannot_share_is_told_before_it_is_read(batches, monkeypatch):
    monkeypatch.setenv("STSCQ_TOGETHER", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ParamsError, match="4 processes cannot share 6 images evenly"):
        draws_of(batches._replace(device=torch.device("meta")))


@pytest.mark.slow
def test_readers_end_with_a_process_that_is_killed(faces, split):
    index = split / "index.parquet"
    script = (
        "import sys, time, torch\n"
        "from pathlib import Path\n"
        "from stscq.training.ahead import ReadAhead\n"
        "from stscq.training.faces import training_batches\n"
        f"batches = training_batches(Path({str(faces)!r}), Path({str(index)!r}), 6, 1, torch.device('cpu'))\n"
        "ahead = ReadAhead(batches, 1, 2)\n"
        "ahead.draw(0)\n"
        "print('drawn', flush=True)\n"
        "time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "drawn\n"
    readers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(readers) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    waited = time.monotonic() + 60
    while any(Path(f"/proc/{reader}").exists() for reader in readers):
        assert time.monotonic() < waited, "a reader outlived the process that it read for"
        time.sleep(0.1)


@pytest.mark.parametrize("S", [32, 64])
def test_changes_one_by_one(S):
    """Mirrored, then moved over repeated edges, then brighter."""
    images, changes = torch.rand(20, 3, S, S), draw_changes(20, S, generator(1, "batch", 0))
    found = changed(images, changes)
    for image, result, flip, dy, dx, gain, offset in zip(images, found, *changes, strict=True):
        padded = F.pad(image.flip(2) if flip else image, (reach(S),) * 4, mode="replicate")
        moved = padded[:, dy : dy + S, dx : dx + S]
        assert torch.equal(result, (gain * (moved - 0.5) + 0.5 + offset).clamp(0, 1))
    assert found.is_contiguous(memory_format=torch.channels_last)
