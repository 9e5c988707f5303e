"""Images to symbols, the same whatever batch an image is in.

A convolution or a matrix product rounds differently in another batch size. That moves latents by about 1e-6 of their
size, and changes an index only where the two nearest entries (or, with NN, the two best groups; with CR, the router's
two highest scores) are closer than that. So an image in which two of them are closer than TIE is encoded once more,
alone: what it gets alone is what it gets.

Axes: B images, M groups, T tokens, K entries, d channels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search import Assignment, distances, group_errors, normalise, search_cr, search_nn

TIE = 1e-5
"""Of the scale of a distance (|z|² + |entry|²), of a group's error, or of the router's scores: some thirty times what
rounding does in float32."""
SCORES = 1 << 22
"""Distances held at once."""


class Chosen(NamedTuple):
    """What was chosen, and for each image how close its closest decision was (B, relative)."""

    assignment: Assignment
    margin: Tensor


class Quantiser(NamedTuple):
    """All that symbols depend on besides the latents.

    books: the codebooks (m x S x K x d) of the groups given. router: latents to scores (B x M), None for NN.
    """

    metric: Metric
    M: int
    books: Callable[[list[int]], Tensor]
    router: Callable[[Tensor], Tensor] | None


@torch.no_grad()
def choose(z_e: Tensor, quantiser: Quantiser) -> Chosen:
    """z_e: B x T x d."""
    metric = quantiser.metric
    if quantiser.router is not None:
        scores = quantiser.router(z_e)
        group = scores.argmax(1)
        group_margin = relative_gap(-scores)
        needed = group.unique()
        books = quantiser.books(needed.tolist())
        found = search_cr(z_e, books, torch.searchsorted(needed, group), metric)
    else:
        books = quantiser.books(list(range(quantiser.M)))
        needed = torch.arange(quantiser.M, device=z_e.device)
        found = search_nn(z_e, books, metric)
        one = quantiser.M == 1
        group_margin = z_e.new_full((len(z_e),), 1.0) if one else relative_gap(group_errors(z_e, books, metric))
    margin = torch.minimum(group_margin, token_margin(z_e, books, found.group, metric))
    return Chosen(Assignment(needed[found.group], found.index), margin)


def relative_gap(values: Tensor) -> Tensor:
    """Between the least and the next of each row (B x M), of the largest size in the row: B."""
    least = values.topk(2, largest=False).values
    return (least[:, 1] - least[:, 0]) / values.abs().amax(1).clamp_min(1e-12)


def token_margin(z_e: Tensor, books: Tensor, group: Tensor, metric: Metric) -> Tensor:
    """The smallest of an image's T `token_gaps`: B. books: m x S x K x d."""
    margin = z_e.new_full((len(z_e),), 1.0)
    if books.shape[2] == 1:
        return margin
    for i in group.unique().tolist():
        images = group == i
        margin[images] = token_gaps(z_e[images], books[i], metric).amin(1)
    return margin


def token_gaps(z_e: Tensor, book: Tensor, metric: Metric) -> Tensor:
    """Distance to the second nearest entry less that to the nearest, of |z|² + |nearest entry|²: B x T.

    book: S x K x d.
    """
    z, entries = normalise(z_e, metric), normalise(book, metric)
    lengths = (entries**2).sum(-1)
    gaps = []
    step = max(1, SCORES // (len(z) * book.shape[1]))
    for t in range(0, z.shape[1], step):
        at = slice(t, t + step) if len(book) > 1 else slice(None)
        near = distances(z_e[:, t : t + step].transpose(0, 1), book[at], metric).topk(2, largest=False)  # t x B x 2
        size = lengths[at].expand(near.indices.shape[0], -1).gather(1, near.indices[..., 0])
        scale = (z[:, t : t + step] ** 2).sum(-1).T + size
        gaps.append(((near.values[..., 1] - near.values[..., 0]) / scale.clamp_min(1e-12)).T)
    return torch.cat(gaps, 1)


def same_in_any_batch(images: Tensor, encode: Callable[[Tensor], Tensor], quantiser: Quantiser) -> Assignment:
    """The symbols of a batch: images with a near tie are encoded alone. images: B x ...; encode: images to latents."""
    (group, index), margin = choose(encode(images), quantiser)
    if len(images) > 1:
        for i in (margin < TIE).nonzero().flatten().tolist():
            alone = choose(encode(images[i : i + 1]), quantiser).assignment
            group[i], index[i] = alone.group[0], alone.index[0]
    return Assignment(group, index)
