"""ḡ of Eq. 8 over more images than a batch has: a batch of 128 cannot say whether 256 groups are in use.

Axes: B images, M groups.
"""

import torch
from torch import Tensor, nn

from stscq.parallel import averaged

REMEMBERED = 4
"""Images for each group: as many as ḡ is a mean of, if a batch has fewer."""


class MeanUse(nn.Module):
    """ḡ as a running mean over batches, whose weights fall by 1 - share a batch; with B >= 4 M that of one batch.

    mean: M, its state; 1/M at first.
    """

    mean: Tensor

    def __init__(self, M: int, batch: int):
        super().__init__()
        self.share = min(1.0, batch / (REMEMBERED * M))
        self.register_buffer("mean", torch.full((M,), 1 / M))

    def forward(self, g: Tensor) -> Tensor:
        """ḡ (M), after the batch g (B x M) has entered it.

        Its gradient is that of the batch's own mean, not a share of it: how strongly Eq. 8 acts on an image must not
        depend on how long ḡ remembers.
        """
        now = averaged(g.mean(0))
        self.mean.copy_(self.mean.lerp(now.detach(), self.share))
        return self.mean + (now - now.detach())
