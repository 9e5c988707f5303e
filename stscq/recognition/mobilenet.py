"""A published face recogniser, MobileNet on VGGFace2 (Savchenko, 2021), as a frozen torch module.

Its file is TensorFlow.js's (faceres-deep, of the models of `human`): names and numbers only, no code is run. Axes:
B images, S x S pixels.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stscq.errors import DataError

INPUT_SIZE = 160
"""Pixels of a side. It was trained with 224; of faces of 64 pixels it verifies as many at 160, in half the time."""
MEAN_BGR = (103.939, 116.779, 123.68)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
"""Of the depthwise convolutions."""


def read_tfjs(model: Path) -> dict[str, np.ndarray]:
    """The float32 weights of a TensorFlow.js model (.json, and the .bin beside it), by name.

    Raises DataError, naming the file, when it is none, or the sizes disagree.
    """
    try:
        (group,) = json.loads(model.read_text(encoding="utf-8"))["weightsManifest"]
        raw = model.with_suffix(".bin").read_bytes()
        weights, start = {}, 0
        for entry in group["weights"]:
            if entry["dtype"] not in ("float32", "int32") or "quantization" in entry:
                raise ValueError(f"{entry['name']} is not of plain numbers")
            count = int(np.prod(entry["shape"], dtype=np.int64))
            array = np.frombuffer(raw, np.dtype(entry["dtype"]), count, start).reshape(entry["shape"])
            weights[entry["name"]] = array
            start += array.nbytes
        if start != len(raw):
            raise ValueError(f"{len(raw)} bytes of weights, where the names need {start}")
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise DataError(f"{model}: not a readable TensorFlow.js model ({problem})") from problem
    return weights


class MobileNet(nn.Module):
    """B x 3 x S x S in [0, 1] -> B x 1024, not normalised. Frozen: batch norms are part of the convolutions."""

    def __init__(self, model: Path):
        """Raises DataError when `model` is not this network's .json file, with its .bin beside it."""
        super().__init__()
        weights = read_tfjs(model)
        try:
            kernel, bias = weights["conv1/convolution/merged_input"], weights["conv1_bn/batchnorm_1/sub"]
            layers = [folded(kernel.transpose(3, 2, 0, 1), bias, stride=2)]
            for i, stride in enumerate(STRIDES, start=1):
                depthwise = f"conv_dw_{i}_bn/batchnorm_1"
                kernel = weights[f"conv_dw_{i}/depthwise_kernel"].transpose(2, 3, 0, 1)
                scale = weights[f"{depthwise}/mul"][:, None, None, None]
                layers.append(folded(kernel * scale, weights[f"{depthwise}/sub"], stride, groups=len(kernel)))
                kernel = weights[f"conv_pw_{i}/convolution/merged_input"].transpose(3, 2, 0, 1)
                layers.append(folded(kernel, weights[f"conv_pw_{i}_bn/batchnorm_1/sub"], stride=1))
        except (KeyError, ValueError, RuntimeError) as problem:
            raise DataError(f"{model}: not the MobileNet that is expected ({problem})") from problem
        self.layers = nn.ModuleList(layers)
        self.register_buffer("mean", torch.tensor(MEAN_BGR)[:, None, None])
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        x = F.interpolate(images, (INPUT_SIZE, INPUT_SIZE), mode="bicubic", align_corners=False)
        x = (255 * x.flip(1) - self.get_buffer("mean")).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            if layer.stride == (2, 2):
                x = F.pad(x, (0, 1, 0, 1))  # TensorFlow's "same" for even sizes: one more at the far end
            x = layer(x).clamp(0, 6)
        return x.mean((2, 3))


def folded(kernel: np.ndarray, bias: np.ndarray, stride: int, groups: int = 1) -> nn.Conv2d:
    """A convolution of given weights (out x in x k x k); with stride 2 its padding is its caller's."""
    out_channels, in_channels, size, _ = kernel.shape
    padding = size // 2 if stride == 1 else 0
    layer = nn.Conv2d(in_channels * groups, out_channels, size, stride, padding, groups=groups)
    layer.load_state_dict({"weight": torch.from_numpy(kernel.copy()), "bias": torch.from_numpy(bias.copy())})
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
