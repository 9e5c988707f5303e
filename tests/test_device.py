"""Which device a job takes, and what may be computed in less than float32."""

import json
import select
import subprocess
import sys

import numpy as np
import pytest
import torch

from stscq.backbones import build
from stscq.data.store import open_store
from stscq.device import DeviceError, check_kernels, mixed, own_device
from stscq.quantization.trained_codec import load_codec
from stscq.training import stage1_tokenizer, stage3
from tests.conftest import ROOT
from tests.plain_codec import decode, encode
from tests.trained import IBQ, SMALL_MASKGIT, STAGE3, TITOK, TOKENIZER, train_stages_1_and_2, weights

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
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("model", [SMALL_MASKGIT, IBQ, TITOK], ids=["maskgit_vqgan", "ibq", "titok"])
def test_all_stages_and_the_evaluation_on_a_gpu(places, split, tmp_path, model, precision):
    teacher = tmp_path / "teacher"
    pixel_decoder = None
    if model == TITOK:
        stage1_tokenizer.main(**places, out=teacher, **TOKENIZER)
        pixel_decoder = teacher
    one = {**TOKENIZER, "model": model, "precision": precision, "accumulate": 2, "pixel_decoder": pixel_decoder}
    stage1_tokenizer.main(**places, out=tmp_path / "tuned", **one)
    train_stages_1_and_2(places, tmp_path / "tuned", tmp_path, precision)
    stage3.main(**places, start=tmp_path / "two", out=tmp_path / "three", precision=precision, **STAGE3)
    assert own_device().type == "cuda"
    codecs = [load_codec(tmp_path / "three", torch.device(kind))[0] for kind in ("cuda", "cpu")]
    images = np.asarray(open_store(places["store"]).images[:20])
    for selection in ("nn", "router"):
        ours, theirs = (encode(codec, images, selection) for codec in codecs)
        assert (ours.index == theirs.index).float().mean() > 0.95  # ties are rounded differently
        difference = np.abs(decode(codecs[0], ours).astype(int) - decode(codecs[1], ours))
        assert difference.max() <= 2


@pytest.mark.gpu
def test_same_seed_same_weights_on_a_gpu_up_to_rounding(places, tmp_path):
    stage1_tokenizer.main(**places, out=tmp_path / "a", **TOKENIZER)
    stage1_tokenizer.main(**places, out=tmp_path / "b", **TOKENIZER)
    a, b = weights(tmp_path / "a"), weights(tmp_path / "b")
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], atol=1e-3, rtol=1e-2)


def test_a_gpu_older_than_torchs_kernels_is_told_which_environment_to_take():
    with pytest.raises(DeviceError, match=r"7\.0 \(it starts at sm_75\): make environment TORCH=cuda12"):
        check_kernels((7, 0), ["sm_75", "sm_80", "sm_90a", "compute_120"])
    check_kernels((7, 0), ["sm_70", "sm_75"])
    check_kernels((9, 0), ["sm_75", "sm_90a"])


def test_the_v100_profile_names_a_locked_environment():
    text = (ROOT / "config" / "paper_v100.yaml").read_text()
    assert "make environment TORCH=cuda12" in text
    assert "requirements/cuda12.txt" in text
    assert (ROOT / "requirements" / "cuda12.txt").is_file()
