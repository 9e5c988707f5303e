"""Images to symbols, the same whatever batch an image is in.

A convolution or a matrix product rounds differently in another batch size. That moves latents by about 1e-6 of their
size, and changes an index only where the two nearest entries (or, with NN, the two best groups; with CR, the router's
two highest scores) are closer than that. So an image in which two of them are closer than TIE is encoded once more,
alone, and keeps the symbols that it gets alone.

Axes: B images, M groups, T tokens, K entries, d channels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search import Assignment, Measured, Prepared, measured_cr, measured_nn

TIE = 1e-5
"""Relative gap below which two candidates are a near tie: some thirty times what rounding does in float32. The gap is
relative to |z|² + |longest entry|² for entries, to the larger error for groups, to the largest score for the router."""


class QuantisedLatents(NamedTuple):
    """margin: B, the smallest relative gap among the decisions of each image."""

    assignment: Assignment
    margin: Tensor


class Quantiser(NamedTuple):
    """Everything besides the latents that symbols depend on. router: latents to scores (B x M), None for NN."""

    metric: Metric
    codebooks: Prepared
    router: Callable[[Tensor], Tensor] | None


@torch.no_grad()
def quantise_latents(z_e: Tensor, quantiser: Quantiser) -> QuantisedLatents:
    """The symbols of latents (B x T x d) as this batch gives them, and how close they came to being others."""
    metric, codebooks, router = quantiser
    margin = z_e.new_ones(len(z_e))
    if router is not None:
        scores = router(z_e)
        measured = measured_cr(z_e, codebooks, scores.argmax(1), metric)
        margin = relative_gap(-scores)
    else:
        measured = measured_nn(z_e, codebooks, metric)
        if codebooks.M > 1 and measured.errors is not None:
            margin = relative_gap(measured.errors)
    entry_margin = relative_entry_gaps(z_e, measured, codebooks).amin(1)
    return QuantisedLatents(measured.assignment, torch.minimum(margin, entry_margin))


def relative_gap(values: Tensor) -> Tensor:
    """Between the least and the next of each row (B x M), relative to the largest magnitude in the row: B."""
    least = values.topk(2, largest=False).values
    return (least[:, 1] - least[:, 0]) / values.abs().amax(1).clamp_min(1e-12)


def relative_entry_gaps(z_e: Tensor, measured: Measured, codebooks: Prepared) -> Tensor:
    """Distance to the second nearest entry less that to the nearest, relative to |z|² + |entry|² for the longest entry
    of the codebook: B x T."""
    if codebooks.metric == "cosine":
        return measured.gaps / 2
    longest = codebooks.reach[measured.assignment.group].square()  # B x S, known since the search
    return measured.gaps / (z_e.square().sum(-1) + longest).clamp_min(1e-12)


def quantise_images(
    images: Tensor, encode: Callable[[Tensor], Tensor], quantiser: Quantiser, z_e: Tensor | None = None
) -> Assignment:
    """The symbols of images (B x ...), none of which depends on the others. encode: images to latents.

    z_e: their latents (B x T x d), where somebody has encoded them before.
    """
    (group, index), margin = quantise_latents(encode(images) if z_e is None else z_e, quantiser)
    if len(images) > 1:
        for i in (margin < TIE).nonzero().flatten().tolist():
            alone = quantise_latents(encode(images[i : i + 1]), quantiser).assignment
            group[i], index[i] = alone.group[0], alone.index[0]
    return Assignment(group, index)
