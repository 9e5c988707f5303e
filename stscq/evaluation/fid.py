"""FID (Heusel et al., NIPS 2017): how far apart are originals and reconstructions as two clouds of Inception features?

The network is torch-fidelity's port of the published TensorFlow Inception, which also resizes as TensorFlow 1 did.
Axes: N images of S x S pixels, D features (2048). The features themselves are never kept.
"""

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from stscq.backbones.pretrained import read_weights, refusing
from stscq.device import full_precision, own_device
from stscq.errors import DataError
from stscq.evaluation.published_metrics import check_pairs, inception_package

FEATURES = 2048
BATCH = 32


class Gaussian:
    """Mean (D) and covariance (D x D, divisor n - 1) of rows that come in batches, in float64."""

    def __init__(self, D: int):
        self.n = 0
        self.mean = np.zeros(D)
        self.scatter = np.zeros((D, D))
        """Sum of the outer products of what is left after the mean."""

    def update(self, rows: np.ndarray) -> None:
        """Add B x D. Chan et al. (1979): unlike plain sums of squares it cancels nothing large."""
        if len(rows) == 0:
            return
        rows = rows.astype(np.float64)
        total = self.n + len(rows)
        mean = rows.mean(0)
        step, rest = mean - self.mean, rows - mean
        self.scatter += rest.T @ rest + np.outer(step, step) * (self.n * len(rows) / total)
        self.mean += step * (len(rows) / total)
        self.n = total

    @property
    def covariance(self) -> np.ndarray:
        return self.scatter / (self.n - 1)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared: |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Dowson and Landau, 1982). Both need two rows."""
    # C_a C_b has the eigenvalues of the symmetric R C_b R^T with R^T R = C_a: real, not negative, and faster to find.
    values, vectors = np.linalg.eigh(a.covariance)
    R = np.sqrt(values.clip(0))[:, None] * vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(R @ b.covariance @ R.T).clip(0)).sum()
    step = a.mean - b.mean
    return max(0.0, float(step @ step + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross))


def load_inception(weights: Path) -> nn.Module:
    """B x 3 x S x S uint8 -> a tuple with B x 2048 float32.

    Raises MetricUnavailableError without the package, CheckpointError for a file that is not its weights.
    """
    package = inception_package()
    # The package would download without a file, and would unpickle anything that it finds in one: it gets what our
    # reader took from the file, written anew.
    checked = io.BytesIO()
    torch.save(read_weights(weights), checked)
    checked.seek(0)
    with refusing(weights):
        return package.FeatureExtractorInceptionV3("inception", [str(FEATURES)], feature_extractor_weights_path=checked)


class Fid:
    """FID of all pairs given to `update`. Few images bias it upwards, so only values from equal numbers compare.

    With fewer images than the 2048 features the covariances are singular, and the value says little by itself.
    """

    def __init__(self, weights: Path, device: torch.device | None = None):
        """weights: the FID's Inception, 2015-12-05, in PyTorch form. device: CUDA where there is one."""
        self.device = own_device() if device is None else device
        self.inception = load_inception(weights).to(self.device)
        self.originals, self.reconstructions = Gaussian(FEATURES), Gaussian(FEATURES)

    def update(self, originals: np.ndarray, reconstructions: np.ndarray) -> None:
        """Add N x S x S x 3 uint8 RGB of both."""
        check_pairs(originals, reconstructions)
        for images, gaussian in ((originals, self.originals), (reconstructions, self.reconstructions)):
            for i in range(0, len(images), BATCH):
                gaussian.update(self.features(images[i : i + BATCH]).cpu().numpy())

    @torch.no_grad()
    def features(self, images: np.ndarray) -> Tensor:
        """B x S x S x 3 uint8 -> B x 2048."""
        with full_precision():
            (features,) = self.inception(torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).to(self.device))
        return features

    def value(self) -> float:
        """Raises DataError below two images."""
        if self.originals.n < 2:
            raise DataError(f"FID needs at least two images, and was given {self.originals.n}")
        return frechet_distance(self.originals, self.reconstructions)
