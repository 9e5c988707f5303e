"""What IBQ trains its codebook by, as its authors publish it (Shi et al., 2025; their public quantiser).

Written after its mathematics; value and gradient agree with it (tests/test_index_propagation.py). Axes: B images, T
tokens, K entries, d channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from stscq.parallel import averaged

BETA = 0.25
"""Of the term that pulls the entry, as published."""
TEMPERATURE = 0.01
"""Of the softmax whose entropies are taken, as published; the softmax that carries gradients has 1."""
EPS = 1e-5
"""Inside the logarithm of the mean, as published."""


class Propagation(NamedTuple):
    """logits: B x T x K, inner products with the entries of each image's group; entries: B x T x d, the chosen ones."""

    logits: Tensor
    entries: Tensor


def index_propagation_loss(z: Tensor, z_q: Tensor, entries: Tensor, beta: float = BETA) -> Tensor:
    """Means over all of ||z_q - z||^2 + ||sg[e] - z||^2 + beta ||e - sg[z]||^2. Shapes B x T x d.

    z_q and the entries e are equal in value; z_q's gradient reaches all entries and z through the softmax.
    """
    pulled = (z_q - z).square().mean() + (entries.detach() - z).square().mean()
    return pulled + beta * (entries - z.detach()).square().mean()


def entry_entropy_loss(logits: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Decided tokens, and all entries used over the batch: the tokens' mean entropy less that of their mean.

    logits: B x T x K. The published code adds EPS to the logits of the logarithm too, which changes nothing.
    """
    rows = logits.flatten(0, 1) / temperature
    soft = rows.softmax(1)
    mean = averaged(soft.mean(0))
    return torch.sum(mean * (mean + EPS).log()) - (soft * rows.log_softmax(1)).sum(1).mean()
