"""Losses of the codebooks and of the router. Axes: B images, M groups, T tokens, d channels."""

from typing import NamedTuple

import torch
from torch import Tensor


def codebook_loss(z: Tensor, z_q: Tensor) -> Tensor:
    """Moves the chosen entries to the latents: mean over all of ||sg[z] - z_q||^2. Shapes B x T x d."""
    return ((z.detach() - z_q) ** 2).mean()


def commitment_loss(z: Tensor, z_q: Tensor) -> Tensor:
    """Holds the encoder near the entries it uses: mean over all of ||z - sg[z_q]||^2. Shapes B x T x d."""
    return ((z - z_q.detach()) ** 2).mean()


def balance_loss(g: Tensor) -> Tensor:
    """L_ent (Eq. 8, as corrected by the authors): sum_i ḡ_i log ḡ_i with ḡ the batch mean of g (B x M, rows sum to 1).

    Minimised: -log M when a batch uses all groups alike, 0 when it uses one.
    """
    return -torch.special.entr(g.mean(0)).sum()


def confidence_loss(g: Tensor) -> Tensor:
    """L_conf (Eq. 9): the mean entropy of the rows of g (B x M). Minimised: 0 when every image is decided."""
    return torch.special.entr(g).sum(1).mean()


def expected_error_loss(g: Tensor, errors: Tensor) -> Tensor:
    """sum_i g_i sg[e_i / |mean_i e_i|], batch mean; e (B x M) is each group's mean nearest-neighbour distance a token.

    Our own decision: Eq. 10 is not printed in our sources. It ties the router to the error that NN selection picks by.
    As a share of the image's mean over groups, so that one weight serves the scales of all three metrics.
    """
    relative = errors / errors.mean(1, keepdim=True).abs()
    return (g * relative.detach()).sum(1).mean()


class RouterLossWeights(NamedTuple):
    balance: float
    confidence: float
    expected_error: float


def router_losses(g: Tensor, errors: Tensor, weights: RouterLossWeights) -> dict[str, Tensor]:
    """The three terms and their weighted sum `loss`. g, errors: B x M."""
    terms = {
        "balance": balance_loss(g),
        "confidence": confidence_loss(g),
        "expected_error": expected_error_loss(g, errors),
    }
    total = sum((w * term for w, term in zip(weights, terms.values(), strict=True)), start=g.new_zeros(()))
    return {"loss": total, **terms}


def entry_entropy_loss(soft: Tensor) -> Tensor:
    """IBQ's entropy penalty: decided tokens, and all entries used over the batch. soft: B x T x K, sums of 1 over K."""
    rows = soft.flatten(0, 1)
    return confidence_loss(rows) + balance_loss(rows)
