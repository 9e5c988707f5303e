"""Groups for inner products (IBQ): by the squared error of the entries that the products choose.

Among groups the largest product would only tell which has the longest entries, so totals of products say nothing.
"""

from functools import reduce

import torch
from torch import Tensor

from stscq.quantization.search.entries import nearest_entries, summed_distances
from stscq.quantization.search.prepared import PreparedCodebooks
from stscq.quantization.search.scores import by_codebook, by_image
from stscq.quantization.search.unequal import Prepared

PRODUCTS = 1 << 24
"""Inner products with one group's entries that are held at once where squares follow from them (floats, 64 MiB)."""


def entries_by_squares(z_e: Tensor, codebooks: Prepared) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The group of the least squared error, group by group: group (B), index and lead (B x T), errors (B x M).

    As `entries_after_totals`, but errors are means over tokens.
    """
    B, T, _ = z_e.shape
    least = torch.full((B,), torch.inf, dtype=torch.float64, device=z_e.device)
    group = torch.zeros(B, dtype=torch.int64, device=z_e.device)
    index = torch.zeros((B, T), dtype=torch.int64, device=z_e.device)
    lead = torch.zeros((B, T), device=z_e.device)
    errors = []
    for g in range(codebooks.M):
        here = torch.full_like(group, g)
        entries, leads = nearest_entries(z_e, codebooks, here)
        error = summed_distances(z_e, codebooks, here, entries, "euclidean")
        better = error < least
        least, group = torch.where(better, error, least), group.masked_fill(better, g)
        index, lead = torch.where(better[:, None], entries, index), torch.where(better[:, None], leads, lead)
        errors.append((error / T).float())
    return group, index, lead, torch.stack(errors, 1)


def mean_squares(z_e: Tensor, codebooks: Prepared) -> Tensor:
    """The errors of `entries_by_squares` for training, which may confuse entries that are as good: B x M, float32."""
    step = max(1, PRODUCTS // (z_e.shape[1] * max(part.K for _, part in codebooks.parts)))
    chunks = (
        reduce(torch.add, (squares_in_float32(z[:, tokens], part) for tokens, part in codebooks.parts))
        for z in z_e.split(step)
    )
    return torch.cat(list(chunks)) / z_e.shape[1]


def squares_in_float32(z_e: Tensor, codebooks: PreparedCodebooks) -> Tensor:
    """B x M: the squared distances of an image's tokens to the entries of the largest products, summed."""
    B, T, d = z_e.shape
    z = by_codebook(z_e.float(), codebooks.S)  # S x N x d
    squares = []
    for g in range(codebooks.M):
        entries = codebooks.entries(range(g, g + 1), slice(None))  # S x K x d
        index = (z @ entries.mT).argmax(-1)
        chosen = entries.gather(1, index[..., None].expand(-1, -1, d))
        squares.append(by_image((z - chosen).square().sum(-1), B, T).sum(1))
    return torch.stack(squares, 1)
