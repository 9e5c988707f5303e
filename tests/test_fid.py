"""The Frechet distance against closed forms and another computation; the network where its package can be imported."""

import sys
from types import ModuleType

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from stscq.errors import CheckpointError, DataError
from stscq.evaluation import fid
from stscq.evaluation.fid import Fid, Gaussian, frechet_distance
from stscq.evaluation.published_metrics import MetricUnavailableError, inception_package, missing

D = 6


def known(mean, covariance):
    gaussian = Gaussian(len(mean))
    gaussian.n, gaussian.mean, gaussian.scatter = 11, np.array(mean, float), 10 * np.array(covariance, float)
    return gaussian


def of(rows, cuts=()):
    gaussian = Gaussian(rows.shape[1])
    for part in np.split(rows, cuts):
        gaussian.update(part)
    return gaussian


def rows(n, seed):
    """n x D, correlated, far from the origin: where plain sums of squares lose digits."""
    random = np.random.default_rng(seed)
    return random.standard_normal((n, D)) @ random.standard_normal((D, D)) + 1e4


def test_one_dimension_by_hand():
    # N(1, 4) and N(4, 25): (4 - 1)^2 + (5 - 2)^2 = 18
    assert frechet_distance(known([1], [[4]]), known([4], [[25]])) == pytest.approx(18)


def test_covariances_with_the_same_axes():
    # Turned together, they keep the distance of their axes: 1 + (3 - 1)^2 + (2 - 0)^2 + (1 - 1)^2 = 9
    turn = scipy.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    a, b = (turn @ np.diag(variances) @ turn.T for variances in ([9, 4, 1], [1, 0, 1]))
    assert frechet_distance(known([0, 0, 0], a), known([0, 0, 1], b)) == pytest.approx(9)


def test_agrees_with_the_matrix_square_root():
    a, b = rows(40, 1), rows(50, 2) + 0.5
    root = scipy.linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False))
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(
        np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root
    )
    assert frechet_distance(of(a), of(b)) == pytest.approx(expected.real, rel=1e-9)
    assert frechet_distance(of(b), of(a)) == pytest.approx(expected.real, rel=1e-9)
    assert 0 <= frechet_distance(of(a), of(a)) < 1e-6


def test_fewer_rows_than_features():
    # Singular covariances: a has variance on the first axis alone, b = 2 a: (2 - 1)^2 var(a)
    a = np.zeros((3, D))
    a[:, 0] = [-1, 0, 1]
    assert frechet_distance(of(a), of(2 * a)) == pytest.approx(1)


def test_batches_are_as_good_as_all_at_once():
    every = rows(64, 3)
    streamed, at_once = of(every, cuts=(0, 1, 7, 40)), of(every)
    assert streamed.n == at_once.n == 64
    assert streamed.mean == pytest.approx(every.mean(0), rel=1e-12)
    for gaussian in (streamed, at_once):
        assert gaussian.covariance == pytest.approx(np.cov(every, rowvar=False), rel=1e-9)


class Network(nn.Module):
    """In the Inception's place: mean and deviation of each colour."""

    def forward(self, images):
        assert images.dtype == torch.uint8
        assert images.shape[1] == 3
        return (torch.cat([images.float().mean((2, 3)), images.float().std((2, 3))], 1),)


@pytest.fixture
def metric(monkeypatch, tmp_path):
    monkeypatch.setattr(fid, "FEATURES", D)
    monkeypatch.setattr(fid, "load_inception", lambda weights: Network())
    return lambda: Fid(tmp_path / "fid_inception.pth", torch.device("cpu"))


def test_images_in_any_portions(metric):
    random = np.random.default_rng(1)
    originals = random.integers(0, 256, (70, 8, 8, 3), dtype=np.uint8)
    reconstructions = (originals // 2 + random.integers(0, 9, originals.shape)).astype(np.uint8)
    whole, portions = metric(), metric()
    whole.update(originals, reconstructions)
    for part in np.split(np.arange(70), (3, 40)):
        portions.update(originals[part], reconstructions[part])
    features = [
        np.concatenate([x.mean((1, 2)), x.reshape(70, -1, 3).std(1, ddof=1)], 1)
        for x in (originals.astype(float), reconstructions.astype(float))
    ]
    assert whole.value() == pytest.approx(frechet_distance(*map(of, features)), rel=1e-4)
    assert portions.value() == pytest.approx(whole.value(), rel=1e-6)
    assert whole.value() > 100


def test_what_cannot_be_measured_is_refused(metric):
    one = np.zeros((1, 8, 8, 3), np.uint8)
    empty = metric()
    empty.update(one, one)
    with pytest.raises(DataError, match="at least two images, and was given 1"):
        empty.value()
    with pytest.raises(ValueError, match="uint8"):
        empty.update(one, one.astype(np.float32))


def test_no_package_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.delitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", raising=False)
    weights = tmp_path / "fid_inception.pth"
    weights.write_bytes(b"any")
    with pytest.raises(MetricUnavailableError, match="pip install torch-fidelity torch==2"):
        Fid(weights)
    absent = {"alexnet": "a", "lpips_alex": "b", "fid_inception": str(weights)}
    assert missing(absent)["fid"].startswith("torch-fidelity cannot be imported (")


def test_the_package_gets_plain_tensors_only(monkeypatch, tmp_path):
    """What the package is given, which it would unpickle whole, holds nothing but tensors."""

    class FeatureExtractorInceptionV3(nn.Linear):
        def __init__(self, name, features, feature_extractor_weights_path):
            super().__init__(2, 1)
            self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=True))

    package = ModuleType("package")
    package.FeatureExtractorInceptionV3 = FeatureExtractorInceptionV3
    monkeypatch.setattr(fid, "inception_package", lambda: package)
    path = tmp_path / "fid_inception.pth"
    torch.save({"weight": torch.tensor([[1.0, 2.0]]), "bias": torch.zeros(1)}, path)
    assert fid.load_inception(path).weight.tolist() == [[1, 2]]
    torch.save({"weight": torch.zeros(1, 2), "other": torch.zeros(1)}, path)
    with pytest.raises(
        CheckpointError, match=r"fid_inception\.pth: not the published weights .*bias.*other"
    ) as problem:
        fid.load_inception(path)
    assert "\n" not in str(problem.value)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="truncated"):
        fid.load_inception(path)


def test_the_published_network(tmp_path):
    """Weights by chance, in a file with the published keys: 2048 features of images of any size."""
    try:
        package = inception_package()
    except MetricUnavailableError as problem:
        pytest.skip(str(problem))
    torch.manual_seed(1)
    path = tmp_path / "fid_inception.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        patch.setattr(package.torch, "load", lambda *args, **kwargs: {})
        blank = package.FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path="none")
    # An old file: no counts of batches, which BatchNorm had not yet.
    torch.save({k: v for k, v in blank.state_dict().items() if not k.endswith("num_batches_tracked")}, path)
    metric = Fid(path, torch.device("cpu"))
    images = np.random.default_rng(1).integers(0, 256, (2, 2, 32, 32, 3), dtype=np.uint8)
    assert metric.features(images[0]).shape == (2, 2048)
    metric.update(*images)
    with torch.no_grad():
        (expected,) = blank(torch.from_numpy(images[1]).permute(0, 3, 1, 2))
    assert metric.reconstructions.mean == pytest.approx(expected.mean(0).numpy(), rel=1e-4, abs=1e-6)
