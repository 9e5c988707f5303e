"""The entries that an assignment names: the inverse of the search, up to quantisation.

Axes: B images, M groups, T tokens, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from stscq.quantization.search import Assignment


def positions(assignment: Assignment, S: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where the entries stand in codebooks of M x S x K x d: group (B x 1), codebook (T) and entry (B x T)."""
    group, index = assignment
    token = torch.arange(index.shape[1], device=index.device)
    return group[:, None], token if S > 1 else torch.zeros_like(token), index


def lookup(codebooks: Callable[[int], Tensor], assignment: Assignment) -> Tensor:
    """Entries, B x T x d, of at least one image.

    codebooks: from a group to its S x K x d; only asked for groups in use. `Codebooks.lookup` does the same in
    training, with gradients.
    """
    group, index = assignment
    entries = None
    for g in group.unique().tolist():
        codebook, images = codebooks(g), group == g
        if entries is None:
            entries = codebook.new_empty(*index.shape, codebook.shape[-1])
        _, token, entry = positions(Assignment(group[images], index[images]), len(codebook))
        entries[images] = codebook[token, entry]
    if entries is None:
        raise ValueError("no images, so no entries")
    return entries
