"""Images to symbols, the same whatever batch an image is in.

A convolution or a matrix product rounds differently in another batch size. That moves latents by about 1e-6 of their
size, and changes an index only where the two nearest entries (or, with nn, the two best groups; or, with router,
its two highest scores) are closer than that. So an image in which two of them are closer than TIE is encoded once more,
alone: what it gets alone is what it gets.

Axes: B images, M groups, T tokens, K entries, d channels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search import Assignment, Books, Measured, measured_cr, measured_nn

TIE = 1e-5
"""Of the scale of a distance (|z|² + |longest entry|²), of a group's error, or of the router's scores: some thirty
times what rounding does in float32."""


class Chosen(NamedTuple):
    """What was chosen, and for each image how close its closest decision was (B, relative)."""

    assignment: Assignment
    margin: Tensor


class Quantiser(NamedTuple):
    """All that symbols depend on besides the latents. router: latents to scores (B x M), None for nn."""

    metric: Metric
    books: Books
    router: Callable[[Tensor], Tensor] | None


@torch.no_grad()
def choose(z_e: Tensor, quantiser: Quantiser) -> Chosen:
    """z_e: B x T x d."""
    metric, books, router = quantiser
    margin = z_e.new_ones(len(z_e))
    if router is not None:
        scores = router(z_e)
        found = measured_cr(z_e, books, scores.argmax(1), metric)
        margin = relative_gap(-scores)
    else:
        found = measured_nn(z_e, books, metric)
        if books.M > 1 and found.errors is not None:
            margin = relative_gap(found.errors)
    return Chosen(found.assignment, torch.minimum(margin, relative_gaps(z_e, found, books).amin(1)))


def relative_gap(values: Tensor) -> Tensor:
    """Between the least and the next of each row (B x M), of the largest size in the row: B."""
    least = values.topk(2, largest=False).values
    return (least[:, 1] - least[:, 0]) / values.abs().amax(1).clamp_min(1e-12)


def relative_gaps(z_e: Tensor, found: Measured, books: Books) -> Tensor:
    """Distance to the second nearest entry less that to the nearest, of |z|² + |entry|² for the longest entry of the
    codebook: B x T."""
    if books.metric == "cosine":
        return found.gaps / 2
    longest = books.reach[found.assignment.group].square()  # B x S, known since the search
    return found.gaps / (z_e.square().sum(-1) + longest).clamp_min(1e-12)


def same_in_any_batch(images: Tensor, encode: Callable[[Tensor], Tensor], quantiser: Quantiser) -> Assignment:
    """The symbols of a batch: images with a near tie are encoded alone. images: B x ...; encode: images to latents."""
    (group, index), margin = choose(encode(images), quantiser)
    if len(images) > 1:
        for i in (margin < TIE).nonzero().flatten().tolist():
            alone = choose(encode(images[i : i + 1]), quantiser).assignment
            group[i], index[i] = alone.group[0], alone.index[0]
    return Assignment(group, index)
