"""The router g(z_e): which group an image should use, from its latents alone.

Axes: B images, M groups, T tokens, d channels, r features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Router(nn.Module):
    """Low-rank bilinear features of the T x d latents, then one linear layer to M logits.

    r features cost r (T + d + M) + M numbers: with T = 128, d = 12, M = 256 and r = 19 about 0.03 MiB, the edge-side
    size left for the router by the paper's storage table.
    """

    def __init__(self, M: int, T: int, d: int, rank: int):
        super().__init__()
        self.over_tokens = nn.Parameter(torch.randn(rank, T) * T**-0.5)
        self.over_channels = nn.Parameter(torch.randn(rank, d))
        self.head = nn.Linear(rank, M)

    def forward(self, z_e: Tensor) -> Tensor:
        """z_e: B x T x d -> logits, B x M; their softmax is g."""
        z = F.layer_norm(z_e, z_e.shape[-1:])
        features = torch.einsum("B T d, r T, r d -> B r", z, self.over_tokens, self.over_channels)
        return self.head(F.layer_norm(features, features.shape[-1:]))
