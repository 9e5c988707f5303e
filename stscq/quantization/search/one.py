"""Entries for one image, soon: for a search that asks again and again and looks at what they show (stscq.codec.effort).

Of two entries that are equally near but for rounding it takes either; `search_cr` decides between them, and for one
image that takes longer than the products do.
"""

import torch
from torch import Tensor

from stscq.quantization.search.scores import by_codebook, by_image, in_float32
from stscq.quantization.search.torch_backend import score
from stscq.quantization.search.unequal import Prepared


@in_float32()
def nearest_of_one(z_e: Tensor, codebooks: Prepared, group: int) -> Tensor:
    """Index (1 x T) of the entries of a group nearest to the latents of one image, 1 x T x d; nothing is checked."""
    index = torch.empty(z_e.shape[:2], dtype=torch.int64, device=z_e.device)
    place = range(group, group + 1), slice(None)
    for tokens, part in codebooks.parts:
        z, entries = by_codebook(z_e[:, tokens], part.S), part.entries(*place)
        out = z.new_empty((*z.shape[:2], part.K))
        best = score(z, entries, part.norms(*place), part.metric, out).argmax(-1)
        index[:, tokens] = by_image(best, 1, best.numel())
    return index
