"""The search as public vector quantisers write it: every distance, then argmin, one group after the other."""

from collections.abc import Callable

import torch
from torch import Tensor


def einsum_distances(z: Tensor, book: Tensor) -> Tensor:
    """|z|^2 + |e|^2 - 2 z e, as in taming-transformers and MaskGIT-VQGAN: B x T x K from B x T x d and T x K x d."""
    products = torch.einsum("btd,tkd->btk", z, book)
    return (z**2).sum(-1, keepdim=True) + (book**2).sum(-1) - 2 * products


def cdist_distances(z: Tensor, book: Tensor) -> Tensor:
    """As in vector-quantize-pytorch."""
    return torch.cdist(z.transpose(0, 1), book).square().transpose(0, 1)


def plain_nn(z: Tensor, codebooks: Tensor, distances: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Group (B) and entries (B x T) of the least total distance. codebooks: M x T x K x d; all already normalised."""
    found = [distances(z, book).min(-1) for book in codebooks]
    group = torch.stack([least.values.sum(1) for least in found]).argmin(0)
    return group, torch.stack([least.indices for least in found])[group, torch.arange(len(z), device=z.device)]
