"""LPIPS against the published implementation, on weights and images that anyone can make."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from stscq.errors import CheckpointError, DataError, ParamsError
from stscq.evaluation.lpips import BATCH, Lpips
from stscq.evaluation.published_metrics import missing
from stscq.training.losses import ImageLossWeights, image_losses
from stscq.training.lpips import AlexNet, Heads, chosen_lpips, load_lpips
from tests.by_rule import by_rule, rng

REFERENCE = json.loads((Path(__file__).parent / "data" / "lpips_reference.json").read_text())
REAL_HEADS = Path(__file__).parent.parent / "weights" / "lpips_alex.pth"
STRENGTHS = (4, 16, 64, 255)


def pairs(size):
    """Coloured squares of 8 pixels, and the same with noise, a pair for each strength."""
    squares = rng(f"squares{size}").integers(0, 256, (len(STRENGTHS), size // 8, size // 8, 3))
    originals = squares.repeat(8, 1).repeat(8, 2)
    noise = [rng(f"noise{size}.{s}").integers(-s, s + 1, (size, size, 3)) for s in STRENGTHS]
    return originals.astype(np.uint8), (originals + np.stack(noise)).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The two files as they are published: AlexNet with its classifier (here a stub of it), and the heads."""
    folder = tmp_path_factory.mktemp("weights")
    torch.save({**by_rule(AlexNet()), "classifier.1.weight": torch.zeros(2, 2)}, folder / "alexnet.pth")
    torch.save(by_rule(Heads()), folder / "lpips_alex.pth")
    return folder


@pytest.fixture(scope="module")
def lpips(files):
    return Lpips(files / "alexnet.pth", files / "lpips_alex.pth", torch.device("cpu"))


@pytest.mark.parametrize("size", [40, 64])
def test_agrees_with_the_published_implementation(lpips, size):
    assert lpips(*pairs(size)) == pytest.approx(np.array(REFERENCE["heads_by_rule"][str(size)]), rel=1e-5)


@pytest.mark.skipif(not REAL_HEADS.is_file(), reason="weights/lpips_alex.pth is missing")
@pytest.mark.parametrize("size", [40, 64])
def test_agrees_with_the_published_heads(files, size):
    metric = Lpips(files / "alexnet.pth", REAL_HEADS, torch.device("cpu"))
    assert metric(*pairs(size)) == pytest.approx(np.array(REFERENCE["published_heads"][str(size)]), rel=1e-5)


def test_equal_images_are_at_no_distance_and_batches_do_not_matter(lpips):
    originals, reconstructions = pairs(40)
    assert np.array_equal(lpips(originals, originals), np.zeros(len(STRENGTHS)))
    times = BATCH // len(STRENGTHS) + 1
    many = lpips(np.tile(originals, (times, 1, 1, 1)), np.tile(reconstructions, (times, 1, 1, 1)))
    assert many == pytest.approx(np.tile(lpips(originals, reconstructions), times), rel=1e-5)
    assert lpips(originals[:0], reconstructions[:0]).shape == (0,)


def test_no_bit_is_lost_to_tf32(lpips, monkeypatch):
    """In which GPUs convolve unless they are told not to."""
    seen, network = [], lpips.network
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)

    def looked_at(*pair):
        seen.append(torch.backends.cudnn.allow_tf32)
        return network(*pair)

    monkeypatch.setattr(lpips, "network", looked_at)
    images = np.zeros((1, 32, 32, 3), np.uint8)
    lpips(images, images)
    assert seen == [False]


def test_images_that_are_no_pairs_are_refused(lpips):
    originals, reconstructions = pairs(40)
    with pytest.raises(ValueError, match="uint8"):
        lpips(originals, reconstructions / 255)
    with pytest.raises(ValueError, match=r"\(3, 40, 40, 3\)"):
        lpips(originals, reconstructions[:3])
    with pytest.raises(DataError, match="31 x 31 pixels, not"):
        lpips(originals[:, :30, :30], reconstructions[:, :30, :30])
    assert np.isfinite(lpips(originals[:, :31, :31], reconstructions[:, :31, :31])).all()


def one_line(problem):
    return "\n" not in str(problem.value)


def test_other_weights_are_refused_in_one_line(files, tmp_path):
    with pytest.raises(CheckpointError, match=r"alexnet\.pth: not the published weights .*lin0\.model\.1\.weight") as e:
        Lpips(files / "alexnet.pth", files / "alexnet.pth")
    assert one_line(e)
    tensors = torch.load(files / "alexnet.pth", weights_only=True)
    tensors["features.0.weight"] = torch.zeros(64, 3, 3, 3)
    tensors["features.13.weight"] = tensors.pop("features.10.weight")
    torch.save(tensors, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth.*Missing.*features\.10\.weight.*Unexpected.*13") as e:
        Lpips(tmp_path / "other.pth", files / "lpips_alex.pth")
    assert one_line(e)
    with pytest.raises(CheckpointError, match=r"absent\.pth: missing"):
        Lpips(tmp_path / "absent.pth", files / "lpips_alex.pth")


class Attack:
    def __reduce__(self):
        return os.mkdir, ("harmed",)


def test_pickled_code_is_not_run(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"features.0.weight": Attack()}, "alexnet.pth")
    with pytest.raises(CheckpointError, match="only plain tensors"):
        Lpips(Path("alexnet.pth"), files / "lpips_alex.pth")
    assert not Path("harmed").exists()


def test_what_is_missing_is_named(files, tmp_path):
    present = {"alexnet": str(files / "alexnet.pth"), "lpips_alex": str(files / "lpips_alex.pth")}
    absent = {"alexnet": f"{tmp_path}/a.pth", "lpips_alex": f"{tmp_path}/b.pth", "fid_inception": f"{tmp_path}/c.pth"}
    assert missing(absent)["lpips"] == f"{tmp_path}/a.pth and {tmp_path}/b.pth are missing; stscq weights get"
    assert missing(absent)["fid"] == f"{tmp_path}/c.pth is missing; stscq weights get"
    half = missing({**absent, "alexnet": present["alexnet"]})
    assert half["lpips"] == f"{tmp_path}/b.pth is missing; stscq weights get"
    assert set(missing({**absent, **present})) == {"fid"}


def public_lpips(a, b, features, heads):
    """The public module's mathematics, layer by layer; a, b: B x 3 x S x S in [-1, 1]."""
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    strides, paddings = {0: 4}, {0: 2, 3: 2}
    total = torch.zeros(len(a), dtype=a.dtype)
    x, y = ((each - shift[:, None, None].to(a)) / scale[:, None, None].to(a) for each in (a, b))
    for layer, number in enumerate((0, 3, 6, 8, 10)):
        kernel, bias = features[f"features.{number}.weight"], features[f"features.{number}.bias"]
        maps = []
        for each in (x, y):
            pooled = torch.nn.functional.max_pool2d(each, 3, 2) if number in (3, 6) else each
            stride, padding = strides.get(number, 1), paddings.get(number, 1)
            maps.append(torch.nn.functional.conv2d(pooled, kernel, bias, stride, padding).clamp(min=0))
        x, y = maps
        unit = [each / ((each**2).sum(1, keepdim=True) ** 0.5 + 1e-10) for each in maps]
        weighed = (unit[0] - unit[1]) ** 2 * heads[f"lin{layer}.model.1.weight"][0]
        total = total + weighed.sum(1).mean((1, 2))
    return total


def test_gradients_are_those_of_the_public_module(files):
    network = load_lpips(files / "alexnet.pth", files / "lpips_alex.pth", torch.device("cpu")).double()
    a, b = torch.rand(2, 2, 3, 48, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mine, theirs = a.clone().requires_grad_(), a.clone().requires_grad_()
    features = network.alexnet.state_dict()
    found, wanted = network(mine, b), public_lpips(2 * theirs - 1, 2 * b - 1, features, network.heads.state_dict())
    assert (found - wanted).abs().max() < 1e-9
    found.sum().backward()
    wanted.sum().backward()
    assert theirs.grad.abs().max() > 1e-4
    assert (mine.grad - theirs.grad).abs().max() < 1e-9
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_cells_without_any_feature_have_a_gradient_of_zero(files):
    """The public module's square root has none there, and ends a training run."""
    network = load_lpips(files / "alexnet.pth", files / "lpips_alex.pth", torch.device("cpu"))
    for layer in network.alexnet.features:
        if isinstance(layer, torch.nn.Conv2d):
            layer.bias.fill_(-1e6)
    image = torch.rand(1, 3, 40, 40, requires_grad=True)
    network(image, torch.rand(1, 3, 40, 40)).sum().backward()
    assert torch.equal(image.grad, torch.zeros_like(image))


def test_the_perceptual_loss_may_be_lpips(files):
    """Without a recogniser too, for pictures that are no faces."""
    network = chosen_lpips("lpips", files / "alexnet.pth", files / "lpips_alex.pth", torch.device("cpu"))
    a, b = torch.rand(2, 2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    terms = image_losses(a, b, None, ImageLossWeights(1.0, 0.5, 0.0), network)
    torch.testing.assert_close(terms["perceptual"], network(a, b).mean())
    torch.testing.assert_close(terms["loss"], terms["pixels"] + 0.5 * terms["perceptual"])
    assert chosen_lpips("recogniser", None, None, torch.device("cpu")) is None
    with pytest.raises(ParamsError, match="name alexnet and lpips_alex"):
        chosen_lpips("lpips", files / "alexnet.pth", None, torch.device("cpu"))
