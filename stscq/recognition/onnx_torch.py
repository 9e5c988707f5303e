"""An IResNet in ONNX (insightface's model zoo, or the demo's own) as a frozen torch module: gradients reach pixels.

Only the operators that such files hold are known; nothing of torchvision or a general converter is needed.
Axes: B images, 3 x 112 x 112 pixels, E embedding length.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor, nn

from stscq.errors import DataError
from stscq.recognition.iresnet import INPUT_SIZE, frozen_input

Attributes = dict[str, Any]


class OtherNetworkError(DataError):
    """An ONNX model, but no IResNet."""


def conv(attributes: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right) or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        raise ValueError("unequal or automatic padding")
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    return F.conv2d(x, weight, bias, strides, (top, left), dilations, attributes.get("group", 1))


def batch_norm(attributes: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.batch_norm(x, mean, var, scale, bias, eps=attributes.get("epsilon", 1e-5))


class FrozenPRelu(torch.autograd.Function):
    """F.prelu whose slopes (C) are constant. torch's backward pass takes their gradient with that of x, by a kernel
    that is several times as slow on CPUs as what x alone needs (benchmarks/results/prelu_cpu.md)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, slope = ctx.saved_tensors
        # Not torch.where, which branches on every number.
        of_positive = torch.ops.aten.threshold_backward(gradient, x, 0.0)
        return torch.lerp(of_positive, gradient, slope[:, None, None]), None


def prelu(attributes: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    return FrozenPRelu.apply(x, slope.flatten())  # type: ignore[no-any-return]


def gemm(attributes: Attributes, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if attributes.get("transA", 0) else a
    b = b.T if attributes.get("transB", 0) else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


def cast(attributes: Attributes, x: Tensor) -> Tensor:
    """To float32: weights may lie in the file as float16."""
    if attributes.get("to") != onnx.TensorProto.FLOAT:
        raise ValueError("a cast to something else than float32")
    return x.float()


def flatten(attributes: Attributes, x: Tensor, shape: Tensor | None = None) -> Tensor:
    """Flatten, or a Reshape to two dimensions with the batch first, which some exporters write in its place."""
    if attributes.get("axis", 1) != 1 or (shape is not None and len(shape) != 2):
        raise ValueError("only images flattened to one row each")
    return x.flatten(1)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Add": lambda attributes, a, b: a + b,
    "BatchNormalization": batch_norm,
    "Cast": cast,
    "Conv": conv,
    "Dropout": lambda attributes, x, *ratio_and_mode: x,
    "Flatten": flatten,
    "Gemm": gemm,
    "Identity": lambda attributes, x: x,
    "PRelu": prelu,
    "Reshape": flatten,
}


class Node(NamedTuple):
    operator: str
    inputs: Sequence[str]
    output: str
    attributes: Attributes


class OnnxIResNet(nn.Module):
    """B x 3 x 112 x 112 in [-1, 1] -> B x E, not normalised: the same numbers as onnxruntime, with gradients."""

    def __init__(self, path: Path):
        """Raises DataError when the file is no ONNX model, OtherNetworkError when it holds what no IResNet has."""
        super().__init__()
        try:
            self.take(read_graph(path), path)
        except DataError:
            raise
        except Exception as problem:  # a file may be wrong in more ways than onnx, numpy and torch have errors for
            raise OtherNetworkError(f"{path}: not an IResNet ({problem!r})") from problem

    def take(self, graph: onnx.GraphProto, path: Path) -> None:
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        inputs = [value.name for value in graph.input if value.name not in constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise OtherNetworkError(
                f"{path}: {len(inputs)} inputs and {len(graph.output)} outputs, where a recogniser has one"
            )
        self.input, self.output = inputs[0], graph.output[0].name
        self.nodes = [
            Node(
                node.op_type,
                list(node.input),
                node.output[0],
                {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute},
            )
            for node in graph.node
        ]
        for node in self.nodes:
            if node.operator not in OPERATORS:
                raise OtherNetworkError(f"{path}: operator {node.operator} (for {node.output}) is in no IResNet")
        try:
            constants |= self.cast_now(constants)
            # Buffer names must not hold dots; ONNX names usually do.
            self.places = {name: f"constant{i}" for i, name in enumerate(constants)}
            for name, array in constants.items():
                self.register_buffer(self.places[name], torch.from_numpy(np.array(array)))
        except (ValueError, TypeError) as problem:  # what torch has no tensors of, such as strings, is a TypeError
            raise OtherNetworkError(f"{path}: {problem}") from problem
        self.stage_outputs = self.find_stages(path)

    def cast_now(self, constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Weights that lie in the file as float16, as float32: cast here once, and not in every run."""
        nodes = [node for node in self.nodes if node.operator == "Cast" and node.inputs[0] in constants]
        self.nodes = [node for node in self.nodes if node not in nodes]
        found = {
            node.output: cast(node.attributes, torch.from_numpy(np.array(constants[node.inputs[0]]))).numpy()
            for node in nodes
        }
        for node in nodes:
            constants.pop(node.inputs[0], None)  # several nodes may cast one
        return found

    def find_stages(self, path: Path) -> list[str]:
        """The last residual sum of each grid size: the outputs of the stages, from fine to coarse."""
        try:
            with torch.no_grad():
                values = self.run(torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE))
        except (ValueError, RuntimeError, KeyError, TypeError) as problem:
            raise OtherNetworkError(
                f"{path}: not an IResNet for {INPUT_SIZE} x {INPUT_SIZE} pixels ({problem})"
            ) from problem
        if values[self.output].ndim != 2:
            raise OtherNetworkError(f"{path}: its output is no embedding but {tuple(values[self.output].shape)}")
        last = {
            values[node.output].shape[2]: node.output
            for node in self.nodes
            if node.operator == "Add" and values[node.output].ndim == 4
        }
        return list(last.values())

    def run(self, x: Tensor) -> dict[str, Tensor]:
        """Every value of the graph, by name."""
        values: dict[str, Tensor] = {self.input: x}
        for operator, inputs, output, attributes in self.nodes:
            arguments = [self.value(name, values) for name in inputs]
            values[output] = OPERATORS[operator](attributes, *arguments)
        return values

    def value(self, name: str, values: dict[str, Tensor]) -> Tensor | None:
        """A computed value or a constant; None for an optional input that is left out."""
        if name in self.places:
            return self.get_buffer(self.places[name])
        return values[name] if name else None

    def prepare(self, images: Tensor) -> Tensor:
        """Images B x 3 x S x S in [0, 1] -> its input."""
        return frozen_input(images)

    def maps_and_embedding(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """The feature maps after each stage, and the embeddings."""
        values = self.run(x)
        return [values[name] for name in self.stage_outputs], values[self.output]

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)[self.output]


def read_graph(path: Path) -> onnx.GraphProto:
    try:
        return onnx.load(path, load_external_data=False).graph
    except Exception as problem:  # protobuf raises many unrelated types for a damaged file
        raise DataError(f"{path}: not a readable ONNX model ({problem})") from problem
