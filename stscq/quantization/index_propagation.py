"""What IBQ trains its codebook by, as its authors publish it (Shi et al., 2025; their public quantiser).

Written after its mathematics; value and gradient agree with it (tests/test_index_propagation.py). Axes: B images, T
tokens, K entries, d channels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stscq.parallel import averaged

BETA = 0.25
"""Of the term that pulls the entry, as published."""
TEMPERATURE = 0.01
"""Of the softmax whose entropies are taken, as published; the softmax that carries gradients has 1."""
EPS = 1e-5
"""Inside the logarithm of the mean, as published."""


class Propagation(NamedTuple):
    """logits: inner products of each token of each image with the entries of its group, in parts of as many entries
    (n x K_j each; n are together B T). entries: B x T x d, the chosen ones."""

    logits: Sequence[Tensor]
    entries: Tensor


def index_propagation_loss(z: Tensor, z_q: Tensor, entries: Tensor, beta: float = BETA) -> Tensor:
    """Means over all of ||z_q - z||^2 + ||sg[e] - z||^2 + beta ||e - sg[z]||^2. Shapes B x T x d.

    z_q and the entries e are equal in value; z_q's gradient reaches all entries and z through the softmax.
    """
    pulled = (z_q - z).square().mean() + (entries.detach() - z).square().mean()
    return pulled + beta * (entries - z.detach()).square().mean()


def entry_entropy_loss(logits: Sequence[Tensor], temperature: float = TEMPERATURE) -> Tensor:
    """Decided tokens, and all entries used over the batch: the tokens' mean entropy less that of their mean.

    logits: as Propagation has them. The mean is over all tokens, entry by entry: a token that has no such entry gives
    it no share. The published code adds EPS to the logits of the logarithm too, which changes nothing.
    """
    tokens, K = sum(len(part) for part in logits), max(part.shape[1] for part in logits)
    total, entropy = logits[0].new_zeros(K), logits[0].new_zeros(())
    for part in logits:
        rows = part / temperature
        soft = rows.softmax(1)
        total = total + F.pad(soft.sum(0), (0, K - part.shape[1]))
        entropy = entropy - (soft * rows.log_softmax(1)).sum()
    mean = averaged(total / tokens)
    return torch.sum(mean * (mean + EPS).log()) + entropy / tokens
