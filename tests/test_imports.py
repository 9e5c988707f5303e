"""What a job's start costs: the workflow starts some 370, and a library that a job does not need costs up to a second.

Where the seconds go: `python -X importtime -m stscq.report.table --help`.
"""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

HEAVY = {"torch", "pandas", "matplotlib", "onnx", "onnxruntime", "insightface", "dlib", "cv2"} | {
    *("scipy.stats", "scipy.optimize", "scipy.special", "scipy.ndimage", "scipy.cluster", "skimage", "llvmlite"),
    *(
        "snakemake",
        "dvc",
        "huggingface_hub",
        "torch._dynamo",
        "torch._inductor",
        "sympy",
        "imagecodecs",
        "pillow_heif",
        "gradio",
    ),
}
CODEC = {"torch", "cv2", "llvmlite"}
SEABORN = {"scipy.stats", "scipy.optimize", "scipy.special", "scipy.ndimage", "scipy.cluster"}
JOB = CODEC | {"pandas"}
TRAINING = CODEC
"""No pandas: there are hundreds of these jobs."""
NEEDED = {
    "cli": set(),
    "provenance.commands": set(),
    "params": set(),
    "weights.commands": {"huggingface_hub"},
    "codec.commands": CODEC,
    "codec.models": CODEC,
    "codec.marks": CODEC,
    "codec.export": JOB,
    "data.prepare": {"pandas", "cv2", "dlib"},
    "data.split": {"pandas"},
    "training.stage1_tokenizer": TRAINING,
    "training.latents": TRAINING,
    "training.stage1_codebooks": TRAINING,
    "training.stage2": TRAINING,
    "training.stage3": TRAINING,
    "training.recogniser": JOB | {"onnx"},
    "evaluation.original": JOB,
    "evaluation.evaluate": JOB,
    "evaluation.overlap": JOB,
    "evaluation.int8": JOB,
    "evaluation.symbol_models": JOB,
    "evaluation.peer": JOB,
    "evaluation.peers.calibrate": JOB,
    "evaluation.full_size": JOB | {"dlib"},
    "evaluation.count_cost": JOB,
    "evaluation.measure_cost": JOB,
    "app.commands": JOB,
    "app.show": JOB,
    "report.summarise": {"pandas"},
    "report.table": {"pandas"},
    "report.figure": {"pandas", "matplotlib"} | SEABORN,
    "report.metrics": {"pandas"},
    "report.page": {"pandas"},
}
"""Module -> of HEAVY, what importing it may bring."""
SCRIPT = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*sorted(sys.modules))"


@pytest.mark.parametrize("module", NEEDED)
def test_a_module_brings_no_more_than_it_needs(module):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"stscq.{module}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert HEAVY & set(done.stdout.split()) - NEEDED[module] == set()
