"""Entries inside given groups, exactly: the nearest of each latent, and distances to them.

A token whose two best scores lie closer than rounding can have moved them is ambiguous (-1), and decided in float64.
"""

from functools import reduce

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search import cpu_backend, torch_backend
from stscq.quantization.search.prepared import TINY, PreparedCodebooks
from stscq.quantization.search.reference import exact_distance
from stscq.quantization.search.scores import IN_FLOAT64
from stscq.quantization.search.unequal import Prepared


def nearest_entries(z_e: Tensor, codebooks: Prepared, group: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest entries in the group of each image (group: B), and by how much their scores lead: B x T each."""
    if isinstance(codebooks, PreparedCodebooks):
        return nearest_in_groups(z_e, codebooks, group)
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    lead = torch.empty(z_e.shape[:2], device=z_e.device, dtype=torch.float32)
    for tokens, part in codebooks.parts:
        index[:, tokens], lead[:, tokens] = nearest_in_groups(z_e[:, tokens], part, group)
    return index, lead


def summed_distances(z_e: Tensor, codebooks: Prepared, group: Tensor, index: Tensor, metric: Metric) -> Tensor:
    """B, float64: distances of an image's tokens to the given entries (B x T) of its group, summed size by size.

    One size after the other, since torch's sums add in an order that hangs on the place.
    """
    parts = (distances_to(z_e[:, tokens], part, group, index[:, tokens], metric) for tokens, part in codebooks.parts)
    return reduce(torch.add, (distances.sum(1) for distances in parts))


def nearest_in_groups(z_e: Tensor, codebooks: PreparedCodebooks, group: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest entries in the group of each image (group: B), and by how much their scores lead: B x T each.

    Groups that are tensors of their own are searched one after another: they may have to be read from a file.
    """
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    lead = torch.empty(z_e.shape[:2], device=z_e.device, dtype=torch.float32)
    by_kernel = cpu_backend.usable(z_e, codebooks) and codebooks.in_place and len(z_e) > 0
    for here in [slice(None)] if codebooks.one_tensor else [group == g for g in group.unique()]:
        z, groups = z_e[here], group[here]
        if by_kernel:
            found = resolve(*cpu_backend.nearest_in_groups(z, codebooks, groups), z, codebooks, groups)
        else:
            found = torch_backend.nearest_in_groups(z, codebooks, groups)
        index[here], lead[here] = found
    return index, lead


def resolve(
    index: Tensor, lead: Tensor, z_e: Tensor, codebooks: PreparedCodebooks, group: Tensor
) -> tuple[Tensor, Tensor]:
    """Finds the entries of ambiguous tokens (-1) in float64. index, lead: B x T; group: B.

    Re-search the whole image when more than 1/8 of its tokens are ambiguous (codebooks with copies), else only those.
    """
    many = (index < 0).sum(1) > index.shape[1] // 8
    if many.any():
        index[many], lead[many] = torch_backend.nearest_in_groups(z_e[many], codebooks, group[many])
    image, token = (index < 0).nonzero(as_tuple=True)
    if len(image):
        z = z_e[image, token].float()
        index[image, token] = torch_backend.nearest_of_tokens(z, codebooks, group[image], token % codebooks.S)
    return index, lead


def distances_to(
    z_e: Tensor, codebooks: PreparedCodebooks, group: Tensor, index: Tensor, metric: Metric | None = None
) -> Tensor:
    """B x T, float64: from B x T latents to the given entries (B x T) of their groups (B). metric: if another."""
    codebook = torch.arange(index.shape[1], device=index.device) % codebooks.S
    step = max(1, IN_FLOAT64 // (index.shape[1] * codebooks.d))
    parts = zip(z_e.split(step), group.split(step), index.split(step), strict=True)
    metric = metric or codebooks.metric
    return torch.cat([exact_distance(z, codebooks.gather(g[:, None], codebook, i), metric) for z, g, i in parts])


def gaps_of(lead: Tensor, z_e: Tensor, metric: Metric) -> Tensor:
    """Differences of distances from those of scores, B x T each."""
    if metric == "inner":
        return lead
    if metric == "cosine":
        lead = lead / torch.linalg.vector_norm(z_e.float(), dim=-1).clamp(min=TINY)
    return 2 * lead
