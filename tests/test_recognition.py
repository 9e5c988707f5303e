"""Recognisers behind one interface, and the small ArcFace in torch and as ONNX."""

from pathlib import Path

import cv2
import dlib
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from skimage import data

from stscq.data.align import CHIP, model_path
from stscq.data.orl import orl_folder, read_orl
from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.errors import CheckpointError, DataError
from stscq.recognition.arcface import ArcFaceHead
from stscq.recognition.base import unit
from stscq.recognition.dlib_resnet import MODEL, load_network
from stscq.recognition.frozen import load_iresnet
from stscq.recognition.iresnet import IResNet, to_input
from stscq.recognition.load import load_recogniser
from stscq.recognition.onnx_arcface import CPU, CUDA, OnnxArcFace, TorchArcFace, load_arcface, providers
from stscq.recognition.onnx_torch import OtherNetworkError
from tests.conftest import ROOT
from tests.test_onnx_torch import CONV, written_by_hand


def with_colour(images):
    """And a face whose embedding the order of its channels changes: the Database of Faces is grey."""
    astronaut = cv2.resize(data.astronaut()[:224, 112:336], images.shape[1:3], interpolation=cv2.INTER_AREA)
    return np.concatenate([images, astronaut[None]])


def test_dlib_tells_people_apart():
    faces = [face for face, _ in zip(read_orl(orl_folder(), 64), range(30), strict=False)]
    embeddings = load_recogniser("dlib").embed(np.stack([face.image for face in faces[::2]]))
    assert embeddings.dtype == np.float32
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    person = np.array([face.row.identity for face in faces[::2]])
    similarity = embeddings @ embeddings.T
    same = person[:, None] == person
    off_diagonal = ~np.eye(len(person), dtype=bool)
    assert similarity[same & off_diagonal].min() > similarity[~same].mean() + 0.03


def test_dlib_network_in_torch_is_dlibs_own():
    images = np.stack([face.image for face, _ in zip(read_orl(orl_folder(), 64), range(12), strict=False)])
    images = with_colour(images)
    chips = [cv2.resize(image, (CHIP, CHIP), interpolation=cv2.INTER_CUBIC) for image in images]
    network = dlib.face_recognition_model_v1(model_path(MODEL))
    expected = unit(np.asarray([network.compute_face_descriptor(chip) for chip in chips]))
    assert np.abs(load_recogniser("dlib").embed(images) - expected).max() < 1e-5


def test_another_file_in_place_of_dlibs_is_refused(tmp_path):
    data = bytearray(Path(model_path(MODEL)).read_bytes())
    data[1_000_000] ^= 1
    (tmp_path / "changed.dat").write_bytes(data)
    with pytest.raises(DataError, match=r"changed\.dat: not the published"):
        load_network(tmp_path / "changed.dat")


def test_torch_and_onnx_agree(recogniser, faces):
    images = with_colour(open_store(faces).images[:5])
    judge = load_recogniser(str(recogniser / "recogniser.onnx"))
    size = 112
    # insightface resizes by itself; give it images of its own size, so that only the networks are compared.
    large = np.repeat(np.repeat(images, size // 32 + 1, 1), size // 32 + 1, 2)[:, :size, :size]
    with torch.no_grad():
        expected = torch.nn.functional.normalize(load_iresnet(recogniser)(to_input(to_float(large))))
    assert np.abs(judge.embed(large) - expected.numpy()).max() < 1e-4
    assert judge.embed(images).shape == (6, 16)


SHIPPED = ROOT / "stscq/recognisers/distilled.onnx"


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_an_iresnet_in_torch_is_what_insightface_makes_of_it(faces, device):
    images = with_colour(open_store(faces).images[:40])  # more than one batch, enlarged
    expected = load_arcface(SHIPPED, torch.device("cpu"))
    found = TorchArcFace(SHIPPED, torch.device(device))
    assert type(expected) is OnnxArcFace
    assert np.abs(found.embed(images) - expected.embed(images)).max() < 1e-5
    assert (expected.device, found.device) == ("CPU, onnxruntime", f"{device}, torch")


def test_a_file_for_one_image_at_a_time(faces, tmp_path):
    model, images = onnx.load(SHIPPED), with_colour(open_store(faces).images[:3])
    expected = OnnxArcFace(SHIPPED, [CPU]).embed(images)
    for first in (1, 2):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = first
        onnx.save(model, tmp_path / f"{first}.onnx")
    assert np.abs(OnnxArcFace(tmp_path / "1.onnx", [CPU]).embed(images) - expected).max() < 1e-5
    with pytest.raises(DataError, match=r"2\.onnx: takes 2 images at a time"):
        OnnxArcFace(tmp_path / "2.onnx", [CPU])


def test_a_checkpoint_of_something_else_is_no_recogniser(tuned):
    with pytest.raises(CheckpointError, match="not a recogniser of ours"):
        load_iresnet(tuned)


@pytest.mark.gpu
def test_judges_run_on_the_gpu(faces):
    images, cuda = with_colour(open_store(faces).images[:40]), torch.device("cuda", 0)
    for name in ("dlib", str(SHIPPED)):
        there, here = load_recogniser(name, cuda), load_recogniser(name, torch.device("cpu"))
        assert there.device == "cuda:0, torch"
        assert np.abs(there.embed(images) - here.embed(images)).max() < 1e-4


def test_a_judge_that_only_the_cpu_could_run_is_refused_where_there_is_a_gpu(tmp_path, monkeypatch):
    """A GPU is not needed to see that: the file is refused before anything is moved to it."""
    gpu, path = torch.device("cuda", 3), tmp_path / "mobile.onnx"
    written_by_hand(path, CONV, helper.make_node("Tanh", ["c"], ["y"]))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with pytest.raises(
        DataError, match=r"mobile\.onnx: operator Tanh .* install onnxruntime-gpu .*STSCQ_ONNX_ON_CPU=1"
    ):
        load_arcface(path, gpu)
    problem = OtherNetworkError("mobile.onnx: operator Tanh")
    monkeypatch.setenv("STSCQ_ONNX_ON_CPU", "1")
    assert providers(problem, gpu) == [CPU]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    assert providers(problem, gpu) == [CPU]
    monkeypatch.delenv("STSCQ_ONNX_ON_CPU")
    assert providers(problem, gpu) == [(CUDA, {"device_id": 3, "use_tf32": 0})]


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="this onnxruntime has CUDA")
def test_onnxruntime_does_not_take_the_cpu_in_silence():
    """What it does where its CUDA libraries do not load: a warning, and the CPU."""
    with pytest.raises(DataError, match=r"could not start CUDAExecutionProvider, .* took CPUExecutionProvider: mend"):
        OnnxArcFace(SHIPPED, [(CUDA, {"device_id": 0})])


def test_a_recogniser_says_where_it_runs(capsys):
    load_recogniser("dlib", torch.device("cpu"))
    assert "recogniser dlib on cpu, torch" in capsys.readouterr().err


def test_the_onnx_file_holds_no_paths_of_the_machine(recogniser):
    content = (recogniser / "recogniser.onnx").read_bytes()
    assert b".py" not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_published_iresnet_size_runs():
    network = IResNet([64, 128, 256, 512], [3, 4, 14, 3], stem_stride=1, embedding=512).eval()
    assert network(torch.zeros(1, 3, 112, 112)).shape == (1, 512)
    assert 40e6 < sum(p.numel() for p in network.parameters()) < 50e6  # IResNet-50: 43.6 million


def test_margin_worked_by_hand():
    head = ArcFaceHead(people=2, embedding=2, scale=2.0, margin=0.5)
    head.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = head(torch.tensor([[3.0, 0.0]]), torch.tensor([0]))
    # cos(0 + 0.5) = 0.8776 for the right person, cos(pi / 2) = 0 for the other
    assert loss.item() == pytest.approx(-np.log(np.exp(2 * 0.87758) / (np.exp(2 * 0.87758) + 1)), abs=2e-3)


def test_what_is_no_recogniser_is_refused(tmp_path):
    with pytest.raises(DataError, match="neither 'dlib' nor an existing"):
        load_recogniser(str(tmp_path / "missing.onnx"))
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"broken\.onnx: not a readable ONNX model"):
        load_recogniser(str(tmp_path / "broken.onnx"))
    with pytest.raises(DataError, match="float64"):
        load_recogniser("dlib").embed(np.zeros((1, 64, 64, 3)))
