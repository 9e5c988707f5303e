"""How often the batch size changes an index, and how close the two nearest entries were where it did."""

from typing import NamedTuple

import numpy as np
import torch

from stscq.codec.api import Codec
from stscq.codec.bundle.description import Selection
from stscq.codec.quantise import TIE, quantise_latents, relative_entry_gaps
from stscq.data.tensors import to_float
from stscq.device import full_precision
from stscq.quantization.search import Assignment, measured_cr

SIZES = (1, 64)
"""Of the batches that are compared."""


class BatchDifferences(NamedTuple):
    """Of N images with T tokens each.

    tokens, groups: how many indices and groups differ between the two batch sizes when each image takes what its batch
    gives it. kept: how many images differ with `Codec.quantise`, which encodes near ties alone. largest_gap: the
    largest relative gap between the two nearest entries among the tokens that differ (0 when none does; see
    stscq.codec.quantise.TIE for its scale). near_ties: the share of images that are encoded twice.
    """

    images: int
    tokens: int
    groups: int
    kept: int
    largest_gap: float
    near_ties: float


def batch_differences(codec: Codec, images: np.ndarray, selection: Selection | None = None) -> BatchDifferences:
    """images: N x S x S x 3 uint8."""
    quantiser = codec.quantiser(selection)
    tie = 0
    assignments = []
    for size in SIZES:
        parts = [of_batch(codec, images[i : i + size], selection) for i in range(0, len(images), size)]
        assignments.append(Assignment(*(torch.cat(column) for column in zip(*(p[:2] for p in parts), strict=True))))
        tie = sum(p[2] for p in parts)
    (group_a, index_a), (group_b, index_b) = assignments
    together = codec.quantise(images, selection)
    alone = [codec.quantise(images[i : i + 1], selection) for i in range(len(images))]
    kept = sum(
        int((a.group[0] != together.group[i]) | (a.index[0] != together.index[i]).any()) for i, a in enumerate(alone)
    )
    same_group = group_a == group_b
    differ = (index_a != index_b) & same_group[:, None]
    gap = 0.0
    for i in differ.any(1).nonzero().flatten().tolist():
        with torch.no_grad(), full_precision():
            z_e = codec.encoder.encode(to_float(images[i : i + 1], codec.device))
            group = group_a[i : i + 1].to(z_e.device)
            measured = measured_cr(z_e, quantiser.codebooks, group, quantiser.metric)
            gaps = relative_entry_gaps(z_e, measured, quantiser.codebooks)[0].cpu()
        gap = max(gap, float(gaps[differ[i]].max()))
    return BatchDifferences(len(images), int(differ.sum()), int((~same_group).sum()), kept, gap, tie / len(images))


def of_batch(codec: Codec, images: np.ndarray, selection: Selection | None) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Group and indices as this batch gives them, and how many of its images have a near tie."""
    with torch.no_grad(), full_precision():
        z_e = codec.encoder.encode(to_float(images, codec.device))
        quantised = quantise_latents(z_e, codec.quantiser(selection))
    return quantised.assignment.group.cpu(), quantised.assignment.index.cpu(), int((quantised.margin < TIE).sum())
