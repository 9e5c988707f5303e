"""What does a frozen recogniser's PReLU save over torch's? `python -m benchmarks.prelu --out benchmarks/results`

By turns in one run, as torch has it and as stscq.recognition.onnx_torch has it: forward and backward of the recogniser
that comes with the package, from pixels to their gradient, and of one PReLU of its size alone. One thread.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.timing import medians, report
from stscq.cli_tools import run
from stscq.codec.effort import teacher
from stscq.recognition import onnx_torch

SLOPE = torch.full((32,), 0.25)


def torchs(attributes: onnx_torch.Attributes, x: Tensor, slope: Tensor) -> Tensor:
    return F.prelu(x, slope.flatten())


def one_prelu(x: Tensor) -> Tensor:
    return onnx_torch.OPERATORS["PRelu"]({}, x, SLOPE)


def gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.autograd.grad(function(x).sum(), x)[0]


def gradient_by_torchs(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with patch.dict(onnx_torch.OPERATORS, PRelu=torchs):
        return gradient(function, x)


def main(repeats: int = 15, out: Path | None = None) -> None:
    """Print the table; write prelu_cpu.md and .json to OUT."""
    torch.set_num_threads(1)
    recogniser = teacher(torch.device("cpu"))
    rows = []
    for batch in (1, 16):
        images = torch.rand(batch, 3, 64, 64, requires_grad=True)
        maps = torch.randn(batch, 32, 112, 112).to(memory_format=torch.channels_last).requires_grad_()
        parts = {
            "one PReLU, 32 x 112 x 112": (one_prelu, maps),
            "recogniser": (lambda x: recogniser.maps_and_embedding(recogniser.prepare(x))[1], images),
        }
        for name, (function, x) in parts.items():
            calls = {"torch's": partial(gradient_by_torchs, function, x), "ours": partial(gradient, function, x)}
            median = medians(calls, repeats)
            milliseconds = {f"{which}, ms": 1000 * seconds for which, seconds in median.items()}
            ratio = median["ours"] / median["torch's"]
            rows.append({"": name, "images": batch, **milliseconds, "ours / torch's": ratio})
    report("prelu", "A frozen PReLU, forward and backward", "Medians; both give the same bits.", rows, repeats, out)


if __name__ == "__main__":
    run(main)
