"""How near a reconstruction is to its original: per image, uint8 in. Axes: N images of S x S pixels."""

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def psnr(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """dB, one number an image (N x S x S x 3 uint8 both)."""
    pairs = zip(originals, reconstructions, strict=True)
    return np.array([peak_signal_noise_ratio(a, b, data_range=255) for a, b in pairs])


def ssim(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """SSIM with the Gaussian window of Wang et al. (2004), one number an image (N x S x S x 3 uint8 both)."""
    return np.array(
        [
            structural_similarity(
                a, b, channel_axis=2, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
            )
            for a, b in zip(originals, reconstructions, strict=True)
        ]
    )
