"""How near a reconstruction is to its original: per image, uint8 in. Axes: N images of S x S pixels."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stscq.device import full_precision

SIGMA, RADIUS = 1.5, 5
"""Of SSIM's window, in pixels."""
C1, C2 = 0.01**2, 0.03**2
PIXELS = 1 << 17
"""Of a batch: what SSIM keeps of so many fits into a processor's cache, and larger batches take twice as long."""


def psnr(originals: np.ndarray, reconstructions: np.ndarray) -> np.ndarray:
    """dB, one number an image (N x S x S x 3 uint8 both); infinite where nothing differs.

    The numbers of scikit-image, whose function brings all of scipy.stats along: half a second for each job.
    """
    pairs = zip(originals, reconstructions, strict=True)
    errors = np.array([np.mean((a.astype(float) - b.astype(float)) ** 2) for a, b in pairs])
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255**2 / errors)


def ssim(originals: np.ndarray, reconstructions: np.ndarray, device: torch.device | str = "cpu") -> np.ndarray:
    """SSIM with the Gaussian window of Wang et al. (2004), one number an image (N x S x S x 3 uint8 both).

    The numbers of scikit-image, to some 1e-5, which tests hold this against; it filters one channel of one image at a
    time. The window is taken where it lies inside the picture, as there.
    """
    B = max(1, PIXELS // (originals.shape[1] * originals.shape[2]))
    parts = [slice(i, i + B) for i in range(0, len(originals), B)]
    found = [np.zeros(0)]
    with full_precision():
        for part in parts:
            pair = (torch.from_numpy(np.array(x[part])).to(device) for x in (originals, reconstructions))
            found.append(ssim_batch(*pair).cpu().numpy().astype(float))
    return np.concatenate(found)


def ssim_batch(a: Tensor, b: Tensor) -> Tensor:
    """B numbers, of two B x S x S x 3 uint8."""
    x, y = (image.permute(0, 3, 1, 2).flatten(0, 1)[:, None] / 255 for image in (a, b))
    centre = x.mean((2, 3), keepdim=True)  # variances lose fewer digits around 0
    x, y = x - centre, y - centre
    mean_x, mean_y, xx, yy, xy = blurred(torch.cat([x, y, x * x, y * y, x * y], 1)).unbind(1)
    variance_x, variance_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    mean_x, mean_y = mean_x + centre[:, 0], mean_y + centre[:, 0]
    alike = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    found = alike / ((mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2))
    return found.unflatten(0, (len(a), 3)).mean((1, 2, 3))


def blurred(x: Tensor) -> Tensor:
    """Each channel of x (B x C x S x S) under the window, where that lies inside: S shrinks by 2 RADIUS."""
    C, offset = x.shape[1], torch.arange(-RADIUS, RADIUS + 1, device=x.device)
    window = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    window = (window / window.sum()).expand(C, 1, 1, -1)
    x = x.contiguous(memory_format=torch.channels_last)  # several times as fast on CPUs
    return F.conv2d(F.conv2d(x, window, groups=C), window.mT, groups=C)
