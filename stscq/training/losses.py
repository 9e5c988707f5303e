"""What a reconstruction is trained for: pixels, features and identity. Axes: B images, 3 x S x S pixels."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from stscq.recognition.frozen import Frozen


class ImageLossWeights(NamedTuple):
    reconstruction: float
    perceptual: float
    identity: float


def perceptual_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of feature maps (B x C x h x w) whose channels are scaled to length 1 at every cell."""
    a, b = (x * (x.square().sum(1, keepdim=True) + 1e-8).rsqrt() for x in (a, b))
    return (a - b).square().sum(1).mean()


def image_losses(
    reconstruction: Tensor, images: Tensor, recogniser: Frozen | None, weights: ImageLossWeights
) -> dict[str, Tensor]:
    """Named terms and their weighted sum `loss`; images and reconstructions are B x 3 x S x S, meant for [0, 1].

    identity is 1 - cos of the frozen recogniser's embeddings; perceptual is the mean over its stages' feature maps.
    There need be no recogniser when both have the weight 0 (pictures that are no faces).
    """
    pixels = F.l1_loss(reconstruction, images) + F.mse_loss(reconstruction, images)
    if recogniser is None or not (weights.perceptual or weights.identity):
        return {"loss": weights.reconstruction * pixels, "pixels": pixels}
    maps, embedding = recogniser.maps_and_embedding(recogniser.prepare(reconstruction))
    target_maps, target = recogniser.maps_and_embedding(recogniser.prepare(images))
    perceptual = sum(
        (perceptual_distance(a, b) for a, b in zip(maps, target_maps, strict=True)), start=pixels.new_zeros(())
    ) / len(maps)
    identity = 1 - F.cosine_similarity(embedding, target).mean()
    loss = weights.reconstruction * pixels + weights.perceptual * perceptual + weights.identity * identity
    return {"loss": loss, "pixels": pixels, "perceptual": perceptual, "identity": identity}
