"""What a reconstruction is trained for: pixels, features and identity. Axes: B images, 3 x S x S pixels."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from stscq.recognition.frozen import Frozen
from stscq.training.lpips import Lpips


class ImageLossWeights(NamedTuple):
    reconstruction: float
    perceptual: float
    identity: float


def perceptual_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of feature maps (B x C x h x w) whose channels are scaled to length 1 at every cell."""
    a, b = (x * (x.square().sum(1, keepdim=True) + 1e-8).rsqrt() for x in (a, b))
    return (a - b).square().sum(1).mean()


def image_losses(
    reconstruction: Tensor,
    images: Tensor,
    recogniser: Frozen | None,
    weights: ImageLossWeights,
    lpips: Lpips | None = None,
) -> dict[str, Tensor]:
    """Named terms and their weighted sum `loss`; images and reconstructions are B x 3 x S x S, meant for [0, 1].

    identity is 1 - cos of the frozen recogniser's embeddings; perceptual is LPIPS where that network is given, else the
    mean over the recogniser's stages of the distance of their feature maps. Where both of
    them have the weight 0 the recogniser is not asked.
    """
    pixels = F.l1_loss(reconstruction, images) + F.mse_loss(reconstruction, images)
    terms = {"pixels": pixels}
    if lpips is not None and weights.perceptual:
        terms["perceptual"] = lpips(reconstruction, images).mean()
    if recogniser is not None and (weights.identity or (weights.perceptual and lpips is None)):
        features, identity = of_recogniser(reconstruction, images, recogniser)
        terms = {"perceptual": features, **terms, "identity": identity}
    loss = weights.reconstruction * pixels
    for name, weight in (("perceptual", weights.perceptual), ("identity", weights.identity)):
        loss = loss + weight * terms[name] if name in terms else loss
    return {"loss": loss, **terms}


def of_recogniser(reconstruction: Tensor, images: Tensor, recogniser: Frozen) -> tuple[Tensor, Tensor]:
    """How far reconstructions are from images in its feature maps (mean over its stages), and in its embeddings."""
    maps, embedding = recogniser.maps_and_embedding(recogniser.prepare(reconstruction))
    target_maps, target = recogniser.maps_and_embedding(recogniser.prepare(images))
    distances = (perceptual_distance(a, b) for a, b in zip(maps, target_maps, strict=True))
    features = sum(distances, start=embedding.new_zeros(())) / len(maps)
    return features, 1 - F.cosine_similarity(embedding, target).mean()
