"""Losses of the codebooks and of the router. Axes: B images, M groups, T tokens, d channels."""

from typing import NamedTuple

import torch
from torch import Tensor

from stscq.parallel import averaged


def codebook_loss(z: Tensor, z_q: Tensor) -> Tensor:
    """Moves the chosen entries to the latents: mean over all of ||sg[z] - z_q||^2. Shapes B x T x d."""
    return ((z.detach() - z_q) ** 2).mean()


def commitment_loss(z: Tensor, z_q: Tensor) -> Tensor:
    """Holds the encoder near the entries it uses: mean over all of ||z - sg[z_q]||^2. Shapes B x T x d."""
    return ((z - z_q.detach()) ** 2).mean()


def balance_loss(mean: Tensor) -> Tensor:
    """L_ent (Eq. 8, as corrected by the authors): sum_i ḡ_i log ḡ_i of the mean of g over a batch or more (M, sum 1).

    Minimised: -log M when all groups are used alike, 0 when one is.
    """
    return -torch.special.entr(mean).sum()


def confidence_loss(g: Tensor) -> Tensor:
    """L_dec (Eq. 9): the mean entropy of the rows of g (B x M). Minimised: 0 when every image is decided."""
    return torch.special.entr(g).sum(1).mean()


def quality_loss(g: Tensor, errors: Tensor) -> Tensor:
    """L_qua (Eq. 10): sum_i g_i (e_i - ē), batch mean, with ē the mean of an image's errors over the groups.

    g, errors: B x M, the errors detached. Negative where the router prefers groups with less error than the average.
    The formula is rebuilt from its description (it is lost in the text that we could read). Since the rows of g sum to
    1, its gradient is that of the expected error sum_i g_i e_i.
    """
    errors = errors.detach()
    return (g * (errors - errors.mean(1, keepdim=True))).sum(1).mean()


class RouterLossWeights(NamedTuple):
    balance: float
    confidence: float
    quality: float


def router_losses(g: Tensor, mean: Tensor, errors: Tensor, weights: RouterLossWeights) -> dict[str, Tensor]:
    """The three terms as published and their weighted sum `loss`. g, errors: B x M; mean: M, ḡ (see `mean_use`).

    In that sum L_qua counts as a share of the batch's mean error, so that one weight serves the scales of all metrics.
    """
    terms = {
        "balance": balance_loss(mean),
        "confidence": confidence_loss(g),
        "quality": quality_loss(g, errors),
    }
    scale = averaged(errors.detach().mean()).abs().clamp(min=1e-12)
    total = (
        weights.balance * terms["balance"]
        + weights.confidence * terms["confidence"]
        + weights.quality * terms["quality"] / scale
    )
    return {"loss": total, **terms}
