"""Which device a job takes, and what may be computed in less than float32."""

import json
import select
import subprocess
import sys

import pytest
import torch

from stscq.backbones import build
from stscq.device import mixed, own_device
from tests.conftest import ROOT, SMALL_MASKGIT

JOB = """
import sys, time
from filelock import FileLock
from stscq.device import take_first
print(take_first([FileLock(path) for path in sys.argv[1:]], poll_seconds=0.05), flush=True)
time.sleep(60)
"""


def test_jobs_side_by_side_take_different_gpus_and_a_dead_job_gives_its_own_back(tmp_path):
    locks = [str(tmp_path / "gpu0.lock"), str(tmp_path / "gpu1.lock")]

    def start():
        return subprocess.Popen([sys.executable, "-c", JOB, *locks], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    first = start()
    assert first.stdout.readline() == "0\n"
    second = start()
    assert second.stdout.readline() == "1\n"
    third = start()
    assert not select.select([third.stdout], [], [], 3)[0]  # it waits
    first.kill()
    assert third.stdout.readline() == "0\n"
    for job in (first, second, third):
        job.kill()
        job.communicate()


def test_without_a_gpu_jobs_run_on_the_cpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert own_device() == torch.device("cpu")


def test_mixed_precision_reaches_the_convolutions_and_float32_comes_out():
    torch.manual_seed(0)
    tokenizer = build(**json.loads(SMALL_MASKGIT)).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        exact = tokenizer.encode(images)
        tokenizer.precision = "bf16"
        rough = tokenizer.encode(images)
    assert exact.dtype == rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert (exact - rough).norm() / exact.norm() < 0.05
    with mixed(torch.device("cpu"), "fp32"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


@pytest.mark.gpu
def test_a_stage_runs_on_the_gpu(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    assert own_device().type == "cuda"
