"""A recogniser in ONNX as a torch module: the same numbers as onnxruntime, gradients down to the pixels."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import helper

from stscq.errors import DataError
from stscq.recognition.export import export_onnx
from stscq.recognition.iresnet import IResNet
from stscq.recognition.onnx_torch import FrozenPRelu, OnnxIResNet

X = torch.randn(3, 3, 112, 112, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def by_onnxruntime(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: X.numpy()})[0]


def lively(network):
    """Normalisation statistics as after training, so that leaving one out shows."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
        elif isinstance(layer, torch.nn.PReLU):
            torch.nn.init.uniform_(layer.weight, 0, 0.5)
    return network.eval()


@pytest.fixture(scope="module")
def published_size(tmp_path_factory):
    """An IResNet-50 of published shape with random weights (insightface's w600k_r50 has this shape)."""
    torch.manual_seed(0)
    network = lively(IResNet([64, 128, 256, 512], [3, 4, 14, 3], stem_stride=1, embedding=512))
    path = tmp_path_factory.mktemp("onnx") / "w600k_r50.onnx"
    export_onnx(network, path)
    return path


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_the_demos_recogniser(recogniser):
    path = recogniser / "recogniser.onnx"
    module = OnnxIResNet(path)
    with torch.no_grad():
        assert relative(module(X).numpy(), by_onnxruntime(path)) < 1e-4
    maps, _ = module.maps_and_embedding(X)
    assert [m.shape[2] for m in maps] == [56, 28, 14, 7]


@pytest.mark.slow
def test_an_iresnet_of_published_size(published_size):
    module = OnnxIResNet(published_size)
    x = X.clone().requires_grad_()
    maps, embedding = module.maps_and_embedding(x)
    assert relative(embedding.detach().numpy(), by_onnxruntime(published_size)) < 1e-4
    assert [tuple(m.shape[1:3]) for m in maps] == [(64, 56), (128, 28), (256, 14), (512, 7)]
    embedding.square().sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax((1, 2, 3)) > 0).all()
    assert not list(module.parameters())  # frozen: nothing that an optimiser could take


def test_gradients_are_right(recogniser):
    """Against a finite difference along a random direction."""
    module = OnnxIResNet(recogniser / "recogniser.onnx").double()
    x = X[:1].double().requires_grad_()
    direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(module(x).sum(), x)
    with torch.no_grad():
        difference = (module(x + 1e-6 * direction).sum() - module(x - 1e-6 * direction).sum()) / 2e-6
    assert (gradient * direction).sum().item() == pytest.approx(difference.item(), rel=1e-3)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_frozen_prelu_is_torchs(layout):
    """To the last bit, at 0 as well and for slopes outside of 0 to 1."""
    x, gradient = torch.randn(2, 2, 4, 5, 5, generator=torch.Generator().manual_seed(2))
    x = x.to(memory_format=layout)
    x[0, 0, 0, 0] = 0
    slope = torch.tensor([0.25, 0.0, -0.5, 1.5])
    found = []
    for function in (F.prelu, FrozenPRelu.apply):
        leaf = x.clone().requires_grad_()
        y = function(leaf, slope)
        found.append((y.detach(), *torch.autograd.grad(y, leaf, gradient)))
    for expected, measured in zip(*found, strict=True):
        torch.testing.assert_close(measured, expected, rtol=0, atol=0)


def written_by_hand(path, *nodes, outputs=("y",)):
    """The operators of older exporters, over one 3 -> 4 channel convolution."""
    tensors = {
        "w": np.ones((4, 3, 3, 3), np.float32) / 27,
        "slope": np.full((4, 1, 1), 0.25, np.float32),
        "fc": np.arange(4 * 112 * 112 * 2, dtype=np.float32).reshape(-1, 2) / 1e5,
        "b": np.array([1, 2], np.float32),
        "half": np.full((4, 3, 3, 3), 0.5, np.float16),
    }
    if any("words" in node.input for node in nodes):
        tensors["words"] = np.array(["a"], object)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 112, 112])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path)


CONV = helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], kernel_shape=[3, 3])


def test_flatten_dropout_identity_and_gemm(tmp_path):
    path = tmp_path / "old.onnx"
    written_by_hand(
        path,
        CONV,
        helper.make_node("PRelu", ["c", "slope"], ["p"]),
        helper.make_node("Add", ["p", "c"], ["a"]),
        helper.make_node("Dropout", ["a"], ["d"]),
        helper.make_node("Identity", ["d"], ["i"]),
        helper.make_node("Flatten", ["i"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "b"], ["y"], alpha=0.5, beta=2.0),
    )
    assert relative(OnnxIResNet(path)(X).numpy(), by_onnxruntime(path)) < 1e-4


def cast_to(number, source, out):
    return helper.make_node("Cast", [source], [out], to=number)


def test_one_constant_may_be_cast_by_several_nodes(tmp_path):
    path = tmp_path / "half.onnx"
    written_by_hand(
        path,
        cast_to(onnx.TensorProto.FLOAT, "half", "v"),
        cast_to(onnx.TensorProto.FLOAT, "half", "u"),
        helper.make_node("Conv", ["x", "v"], ["c"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Conv", ["x", "u"], ["d"], pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Add", ["c", "d"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "b"], ["y"]),
    )
    network = OnnxIResNet(path)
    assert "half" not in network.places
    assert relative(network(X).numpy(), by_onnxruntime(path)) < 1e-4


@pytest.mark.parametrize(
    ("nodes", "outputs", "message"),
    [
        ([CONV, helper.make_node("Tanh", ["c"], ["y"])], ("y",), r"operator Tanh \(for y\) is in no IResNet"),
        ([CONV, helper.make_node("Identity", ["c"], ["y"])], ("y",), "its output is no embedding"),
        ([CONV, helper.make_node("Identity", ["c"], ["y"])], ("y", "c"), "1 inputs and 2 outputs"),
        ([helper.make_node("Add", ["x", "gone"], ["y"])], ("y",), "not an IResNet for 112 x 112 pixels"),
        (
            [helper.make_node("Conv", ["x", "w"], ["y"], pads=[0, 0, 1, 1], kernel_shape=[3, 3])],
            ("y",),
            "unequal or automatic padding",
        ),
        ([cast_to(onnx.TensorProto.INT64, "half", "y")], ("y",), "a cast to something else than float32"),
        ([cast_to(onnx.TensorProto.FLOAT, "words", "y")], ("y",), "can't convert np.ndarray of type"),
        ([CONV, helper.make_node("Identity", ["words"], ["y"])], ("y",), "can't convert np.ndarray of type"),
        ([CONV], ("z",), "not an IResNet"),
        ([CONV], ("w",), "not an IResNet"),
        ([helper.make_node("Conv", ["x", "w"], [])], ("y",), "not an IResNet"),
        ([helper.make_node("Cast", [], ["y"], to=1)], ("y",), "not an IResNet"),
        ([CONV, helper.make_node("PRelu", ["c", ""], ["y"])], ("y",), "not an IResNet"),
        ([CONV, helper.make_node("Flatten", [""], ["y"])], ("y",), "not an IResNet"),
    ],
)
def test_other_networks_are_refused(tmp_path, nodes, outputs, message):
    path = tmp_path / "other.onnx"
    written_by_hand(path, *nodes, outputs=outputs)
    with pytest.raises(DataError, match=r"other\.onnx: .*" + message):
        OnnxIResNet(path)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"broken\.onnx: not a readable ONNX model"):
        OnnxIResNet(tmp_path / "broken.onnx")
