"""How near a reconstruction is to its original: per image, uint8 in. Axes: N images of S x S pixels."""

import numpy as np


def psnr(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """dB, one number an image (N x S x S x 3 uint8 both); infinite where nothing differs.

    The numbers of scikit-image, whose function brings all of scipy.stats along: half a second for each job.
    """
    pairs = zip(originals, reconstructions, strict=True)
    errors = np.array([np.mean((a.astype(float) - b.astype(float)) ** 2) for a, b in pairs])
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / errors)


def ssim(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """SSIM with the Gaussian window of Wang et al. (2004), one number an image (N x S x S x 3 uint8 both)."""
    from skimage.metrics import structural_similarity  # imported here: many jobs import this module and compare nothing

    return np.array(
        [
            structural_similarity(
                a, b, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            for a, b in zip(originals, reconstructions, strict=True)
        ]
    )
