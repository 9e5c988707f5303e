"""Encoder effort: entries whose decoded picture shows the person, instead of the nearest ones. Bytes and decoder stay.

The nearest entry of every token is the best in latents, and an embedding of the decoded picture says what it did to the
person. Its gradient with respect to the entries moves the latents that entries are sought for, a few times; the entries
with the least loss are kept, the nearest ones among them. Every other step shows the recogniser the picture in a mirror
and nearer, so that less is won by what only this one sees. docs/beyond.md says what it brings, judged by another.
Axes: T tokens, K entries, d channels, E embedding length, S x S pixels.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import stscq
from stscq.codec.quantise import Quantiser
from stscq.errors import StscqError
from stscq.quantization.search import Assignment, nearest_of_one, normalise
from stscq.recognition.frozen import Frozen, load_frozen

STEPS = (0, 2, 4, 6, 8, 10, 14, 20, 28, 40)
"""Of each effort from 0 to 9: how often the gradient is taken. Even, so that the last picture is seen as it is."""
STEP = 0.08
"""How far the first one moves the latents of an image, as a share of their length; it falls linearly to nothing."""
PIXELS = 3.0
"""Weight of the mean squared error of the pixels, in [0, 1], beside 1 - cos of the embeddings."""
MARGIN = 0.05
"""Seen nearer, a picture lacks this share of its side at each edge: 3 of 64 pixels."""
RECOGNISER = Path(stscq.__file__).parent / "recognisers" / "distilled.onnx"
"""Comes with the package; it judges nothing."""


class Search(NamedTuple):
    """What a search needs besides the quantiser. encode, decode: of one image (1 x 3 x S x S; 1 x T x d); entries: an
    assignment's z_q, 1 x T x d; recogniser: frozen; steps: how many."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    entries: Callable[[Assignment], Tensor]
    recogniser: Frozen
    steps: int


def check_effort(effort: int) -> None:
    """Raises StscqError unless it is a number from 0 to 9."""
    if not 0 <= effort < len(STEPS):
        raise StscqError(f"effort {effort} is not a number from 0 to {len(STEPS) - 1}")


def teacher(device: torch.device) -> Frozen:
    """The recogniser whose embedding is followed."""
    return load_frozen(RECOGNISER, device)


def refine(images: Tensor, first: Assignment, quantiser: Quantiser, search: Search) -> Assignment:
    """Images (B x 3 x S x S in [0, 1]) and their nearest entries to better ones in the same groups. Each image by
    itself, so that none depends on those beside it."""
    refined = [
        refine_one(images[i : i + 1], Assignment(first.group[i : i + 1], first.index[i : i + 1]), quantiser, search)
        for i in range(len(images))
    ]
    return Assignment(first.group, torch.cat(refined)) if refined else first


def refine_one(image: Tensor, first: Assignment, quantiser: Quantiser, search: Search) -> Tensor:
    """The best index (1 x T) among those that were seen as they are."""
    metric, codebooks, _ = quantiser
    with torch.no_grad():
        moved = normalise(search.encode(image), metric)
        wanted = [embedding(search.recogniser, seen(image, mirrored)) for mirrored in (False, True)]
    length, group = STEP * moved.norm(), int(first.group)
    best, index, least = first.index, first.index, torch.inf
    for step in range(search.steps + 1):
        last, mirrored = step == search.steps, step % 2 == 1
        z_q = search.entries(Assignment(first.group, index)).detach().requires_grad_(not last)
        with torch.set_grad_enabled(not last):
            loss = identity_and_pixels(search.decode(z_q), image, wanted[mirrored], search.recogniser, mirrored)
        if not mirrored and loss.item() < least:
            best, least = index, loss.item()
        if not last:
            (gradient,) = torch.autograd.grad(loss, z_q)
            moved = moved - (1 - step / search.steps) * length * gradient / gradient.norm().clamp(min=1e-12)
            index = nearest_of_one(moved, codebooks, group)
    return best


def identity_and_pixels(decoded: Tensor, image: Tensor, wanted: Tensor, recogniser: Frozen, mirrored: bool) -> Tensor:
    """1 - cos of the embedding of the decoded picture and the one wanted, and PIXELS times the mean squared error to
    the image. Pictures 1 x 3 x S x S; wanted: 1 x E, of the image as the recogniser sees it too (see `seen`)."""
    same = (embedding(recogniser, seen(decoded, mirrored)) * wanted).sum()
    return 1 - same + PIXELS * (decoded - image).square().mean()


def seen(images: Tensor, mirrored: bool) -> Tensor:
    """Images (B x 3 x S x S) as the recogniser gets them, which takes any S: as they are, or in a mirror and nearer."""
    S = images.shape[-1]
    edge = int(MARGIN * S)
    return images.flip(-1)[..., edge : S - edge, edge : S - edge] if mirrored else images


def embedding(recogniser: Frozen, images: Tensor) -> Tensor:
    """1 x E, of length 1."""
    return F.normalize(recogniser.maps_and_embedding(recogniser.prepare(images))[1], dim=-1)
