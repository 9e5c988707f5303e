"""The recogniser that is shipped: a large one read from its published format, a small one that learns from it."""

import json

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F

from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.errors import DataError, ParamsError
from stscq.evaluation import recogniser as measure
from stscq.recognition.export import export_onnx
from stscq.recognition.frozen import load_frozen
from stscq.recognition.iresnet import IResNet
from stscq.recognition.mobilenet import STRIDES, MobileNet, folded, read_tfjs
from stscq.recognition.onnx_torch import OnnxIResNet
from stscq.training import distil, ship_recogniser, teacher
from stscq.training.loop import read_log
from tests.test_onnx_torch import X, by_onnxruntime, lively, relative
from tests.test_pretrain import pairs_store  # noqa: F401

SIZES = '{"widths": [4, 4, 8, 8], "blocks": [1, 1, 1, 1], "stem_stride": 2, "embedding": 4}'


def write_tfjs(path, weights):
    """As TensorFlow.js writes a model; the graph is not read."""
    manifest = [{"name": name, "shape": list(a.shape), "dtype": str(a.dtype)} for name, a in weights.items()]
    path.write_text(json.dumps({"modelTopology": {}, "weightsManifest": [{"paths": [], "weights": manifest}]}))
    path.with_suffix(".bin").write_bytes(b"".join(a.tobytes() for a in weights.values()))


def small_mobilenet(width=5):
    random = np.random.default_rng(1)
    shapes = {"conv1/convolution/merged_input": (3, 3, 3, width), "conv1_bn/batchnorm_1/sub": (width,)}
    for i in range(1, len(STRIDES) + 1):
        shapes[f"conv_dw_{i}/depthwise_kernel"] = (3, 3, width, 1)
        shapes[f"conv_dw_{i}_bn/batchnorm_1/mul"] = shapes[f"conv_dw_{i}_bn/batchnorm_1/sub"] = (width,)
        shapes[f"conv_pw_{i}/convolution/merged_input"] = (1, 1, width, width)
        shapes[f"conv_pw_{i}_bn/batchnorm_1/sub"] = (width,)
    # Between the bounds 0 and 6 of its activations, so that the image is still seen at its end.
    return {
        name: random.normal(1, 0.1, shape).astype(np.float32)
        if len(shape) == 1
        else random.normal(0, 0.7, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture
def large(tmp_path):
    write_tfjs(tmp_path / "large.json", small_mobilenet())
    return tmp_path / "large.json"


def test_a_published_mobilenet_is_read_and_embeds(large):
    network = MobileNet(large)
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    embedded = network(images)
    assert embedded.shape == (2, 5)
    embedded.sum().backward()
    assert images.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


def same(x, kernel, stride, groups=1):
    """TensorFlow's convolution with padding "same", by its own formula. kernel: out x in x k x k."""
    sides = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + kernel.shape[2] - n, 0)
        sides += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, sides), torch.from_numpy(kernel), stride=stride, groups=groups)


def test_it_computes_what_tensorflow_does(large):
    weights = {name: array.copy() for name, array in small_mobilenet().items()}
    images = torch.rand(2, 3, 32, 32)
    x = F.interpolate(images, (160, 160), mode="bicubic", align_corners=False)
    x = 255 * x.flip(1) - torch.tensor([103.939, 116.779, 123.68])[:, None, None]

    def shifted(x, name):
        return (x + torch.from_numpy(weights[f"{name}_bn/batchnorm_1/sub"])[:, None, None]).clamp(0, 6)

    x = shifted(same(x, weights["conv1/convolution/merged_input"].transpose(3, 2, 0, 1), 2), "conv1")
    for i, stride in enumerate(STRIDES, start=1):
        x = same(x, weights[f"conv_dw_{i}/depthwise_kernel"].transpose(2, 3, 0, 1), stride, groups=x.shape[1])
        x = shifted(x * torch.from_numpy(weights[f"conv_dw_{i}_bn/batchnorm_1/mul"])[:, None, None], f"conv_dw_{i}")
        x = shifted(same(x, weights[f"conv_pw_{i}/convolution/merged_input"].transpose(3, 2, 0, 1), 1), f"conv_pw_{i}")
    torch.testing.assert_close(MobileNet(large)(images), x.mean((2, 3)), rtol=1e-3, atol=1e-3)


def test_a_scale_belongs_to_its_channel():
    kernel = np.ones((2, 1, 3, 3), np.float32) * np.float32([[[[1]]], [[[10]]]])
    layer = folded(kernel, np.zeros(2, np.float32), stride=1, groups=2)
    assert layer(torch.ones(1, 2, 3, 3))[0, :, 1, 1].tolist() == [9, 90]


def test_a_damaged_model_is_named(large):
    numbers = large.with_suffix(".bin")
    numbers.write_bytes(numbers.read_bytes() + b"more")
    with pytest.raises(DataError, match=r"large\.json: .* where the names need"):
        read_tfjs(large)
    numbers.unlink()
    with pytest.raises(DataError, match=r"large\.json: not a readable"):
        MobileNet(large)


def test_another_network_is_named(tmp_path):
    weights = small_mobilenet()
    del weights["conv_dw_7/depthwise_kernel"]
    write_tfjs(tmp_path / "other.json", weights)
    with pytest.raises(DataError, match=r"other\.json: not the MobileNet"):
        MobileNet(tmp_path / "other.json")


def test_principal_components_keep_what_differs():
    random = np.random.default_rng(1)
    low = random.normal(size=(50, 3))
    wide = (low @ random.normal(size=(3, 20)) + 7).astype(np.float32)
    targets = distil.principal(wide, np.arange(40), 3)
    centred = torch.from_numpy(wide - wide[:40].mean(0))
    torch.testing.assert_close(targets.norm(dim=1), torch.ones(50))
    torch.testing.assert_close(targets @ targets.T, F.normalize(centred) @ F.normalize(centred).T, atol=1e-4, rtol=0)
    with pytest.raises(ParamsError, match="21 numbers, and the large recogniser has 20"):
        distil.principal(wide, np.arange(40), 21)


def test_a_small_one_learns_what_the_large_one_says_and_is_shipped(faces, large, pairs_store, tmp_path):  # noqa: F811
    teacher.main(faces, large, tmp_path / "teacher.npy")
    known = np.load(tmp_path / "teacher.npy")
    images, index = open_store(faces)
    with torch.no_grad():
        both = MobileNet(large)(torch.cat([to_float(images[:1]), to_float(images[:1, :, ::-1])])).mean(0)
    np.testing.assert_allclose(known[0], both.numpy(), rtol=1e-2, atol=1e-3)
    left_out = tmp_path / "left_out.json"
    left_out.write_text(json.dumps({"leave_out": index.image_id[:10].tolist()}))
    out = tmp_path / "distilled"
    distil.main(
        faces, left_out, tmp_path / "teacher.npy", out, SIZES, seed=1, steps=60, batch=8, lr=0.01, weight_decay=0.0,
        validation=20,
    )  # fmt: skip
    curve = [line for line in read_log(out / "log.jsonl") if "held_out" in line]
    assert curve[-1]["held_out"] > curve[0]["held_out"]
    measure.main(str(out / "recogniser.onnx"), pairs_store, tmp_path / "measured.json")
    found = json.loads((tmp_path / "measured.json").read_text())
    assert found["pairs"] == 40
    assert found["accuracy"]["recogniser"] < found["accuracy"]["judge"]
    (out / "distil.run.json").write_text('{"machine": "here"}')  # which the command line writes
    ship_recogniser.main(out, tmp_path / "measured.json", faces, left_out, tmp_path / "shipped" / "small")
    card = json.loads((tmp_path / "shipped" / "small.json").read_text())
    assert card["faces"] == 400 - 10 - 20
    assert f"from {card['faces']:,} faces" in (tmp_path / "shipped" / "small.md").read_text()
    frozen = load_frozen(tmp_path / "shipped" / "small.onnx", torch.device("cpu"))
    assert frozen.maps_and_embedding(frozen.prepare(to_float(images[:2])))[1].shape == (2, 4)


def test_half_the_bytes_and_the_same_embeddings(tmp_path):
    torch.manual_seed(0)
    network = lively(IResNet([8, 8, 16, 16], [1, 1, 1, 1], stem_stride=2, embedding=64))
    export_onnx(network, tmp_path / "full.onnx")
    export_onnx(network, tmp_path / "half.onnx", half=True)
    assert (tmp_path / "half.onnx").stat().st_size < 0.7 * (tmp_path / "full.onnx").stat().st_size
    half = by_onnxruntime(tmp_path / "half.onnx")
    assert 0 < relative(half, by_onnxruntime(tmp_path / "full.onnx")) < 0.01
    with torch.no_grad():
        assert relative(OnnxIResNet(tmp_path / "half.onnx")(X).numpy(), half) < 1e-4


def test_a_cast_to_anything_else_is_refused(tmp_path):
    export_onnx(IResNet([4, 4, 4, 4], [1, 1, 1, 1], stem_stride=2, embedding=4), tmp_path / "half.onnx", half=True)
    model = onnx.load(tmp_path / "half.onnx")
    next(node for node in model.graph.node if node.op_type == "Cast").attribute[0].i = onnx.TensorProto.DOUBLE
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(DataError, match="a cast to something else"):
        OnnxIResNet(tmp_path / "odd.onnx")
