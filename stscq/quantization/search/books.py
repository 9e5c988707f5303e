"""Codebooks as the search reads them: slabs of float32 entries, and the norms that turn products into distances."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stscq.backbones.base import Metric

KEPT = 1 << 23
"""Norms that are kept between searches (floats, 32 MiB); those of further groups are computed again each time."""
PIECE = 1 << 20
"""Entries' channels that are converted or squared at once (floats, 4 MiB)."""
UNIT = 2.0**-21
"""How far from 1 the length of a vector may be that was l2-normalised in float32."""
TINY = 1e-12
"""As torch.nn.functional.normalize has it."""


class Norms(NamedTuple):
    """Of some codebooks R. correction: R x 1 x K, what scores are multiplied by (cosine) or lowered by (euclidean),
    None where products are scores already; reach: R, the longest entry as it enters the score."""

    correction: Tensor | None
    reach: Tensor


class Books:
    """M groups of S x K x d: one tensor, or a sequence of tensors that may lie in files (memory maps) and be read late.
    A sequence that has a tensor's shape, dtype and device is not read to learn them.

    fp32, bf16 or fp16. Nothing is copied but the piece at hand, and that not if entries are read in_place. Norms are
    computed when a group is first searched, and kept up to a fixed size: make a new object when entries have changed.
    For the cosine, a group whose entries all are unit vectors needs no norms.

    fresh: floats that a codebook may take for norms while it is searched, if they are not all kept.
    """

    def __init__(self, groups: Tensor | Sequence[Tensor], metric: Metric):
        self.groups, self.metric = groups, metric
        self.M = len(groups)
        like: Any = groups if hasattr(groups, "shape") else groups[0][None]
        _, self.S, self.K, self.d = like.shape
        self.device, self.dtype = like.device, like.dtype
        self.together = isinstance(groups, Tensor) and groups.is_contiguous()
        self.in_place = self.dtype == torch.float32 and (not isinstance(like, Tensor) or like[0].is_contiguous())
        kept = 0 if metric == "inner" else min(self.M, KEPT // (self.S * self.K))
        self.kept = torch.empty((kept, self.S, self.K), device=self.device, dtype=torch.float32)
        self.reach = torch.empty((self.M, self.S), device=self.device, dtype=torch.float32)
        self.fresh = 0 if metric == "inner" or kept == self.M else self.K
        self.known = [False] * self.M
        self.plain = [metric == "inner"] * self.M
        self.latest: tuple[int, Tensor] | None = None

    def entries(self, group: int, groups: int, start: int, books: int) -> Tensor:
        """R x K x d in float32: codebooks start..start + books of one group, or (start 0, books S) of several."""
        if groups > 1:
            slab = self.groups[group : group + groups].flatten(0, 1)  # type: ignore[union-attr]
        else:
            slab = self.groups[group][start : start + books]
        return slab.float()

    def gather(self, group: Tensor, book: Tensor, index: Tensor) -> Tensor:
        """Single entries, of shapes that broadcast: ... x d."""
        if isinstance(self.groups, Tensor):
            return self.groups[group, book, index]
        group, book, index = torch.broadcast_tensors(group, book, index)
        found = torch.empty((*group.shape, self.d), dtype=self.dtype, device=self.device)
        for g in group.unique().tolist():
            here = group == g
            found[here] = self.groups[g][book[here], index[here]]
        return found

    def norms(self, group: int, groups: int, start: int, books: int) -> Norms:
        """The norms of the same codebooks. Raises ValueError for groups of another size, or no finite numbers."""
        every, part = range(group, group + groups), slice(start, start + books)
        for g in every:
            if not self.known[g]:
                self._measure(g)
        reach = self.reach[every.start : every.stop, part].flatten()
        if all(self.plain[g] for g in every):
            return Norms(None, reach)
        if every.stop <= len(self.kept):
            return Norms(self.kept[every.start : every.stop, part].reshape(-1, 1, self.K), reach)
        return Norms(torch.cat([self._correction(g, part) for g in every])[:, None], reach)

    def _correction(self, group: int, part: slice) -> Tensor:
        """Of some codebooks, R x K: kept, the latest, or computed anew."""
        if group < len(self.kept):
            return self.kept[group, part]
        if self.plain[group]:  # a unit group among others: a correction by 1 is none
            return self.reach.new_ones(self.groups[group][part].shape[:2])
        if self.latest is not None and self.latest[0] == group:
            return self.latest[1][part]
        return correction_of(squared_norms(self.groups[group][part]), self.metric)

    def _measure(self, group: int) -> None:
        codebook = self.groups[group]
        if codebook.shape != (self.S, self.K, self.d) or codebook.dtype != self.dtype:
            sizes = " x ".join(map(str, codebook.shape))
            raise ValueError(
                f"group {group} is {sizes}, {codebook.dtype}, "
                f"where group 0 is {self.S} x {self.K} x {self.d}, {self.dtype}"
            )
        squares = squared_norms(codebook)
        least, most = torch.stack(squares.aminmax()).tolist()
        if not math.isfinite(most):
            raise ValueError(f"group {group} has entries that are no numbers, or longer than 1e19")
        if self.metric == "cosine":
            self.plain[group] = max(most - 1, 1 - least) <= 2 * UNIT
        self.reach[group] = 1 if self.metric == "cosine" else squares.amax(-1).sqrt()
        if group < len(self.kept):
            self.kept[group] = correction_of(squares, self.metric)
        elif not self.plain[group]:
            self.latest = (group, correction_of(squares, self.metric))
        self.known[group] = True


def correction_of(squares: Tensor, metric: Metric) -> Tensor:
    """Inverse lengths (cosine), or half squared ones, from squared lengths, which are overwritten."""
    if metric == "cosine":
        return squares.sqrt_().clamp_(min=TINY).reciprocal_()
    return squares.mul_(0.5)


def squared_norms(codebook: Tensor) -> Tensor:
    """S x K in float32, a few codebooks at a time."""
    S, K, d = codebook.shape
    books = max(1, PIECE // (K * d))
    found = torch.empty((S, K), device=codebook.device, dtype=torch.float32)
    ones = torch.ones(d, device=codebook.device, dtype=torch.float32)
    for start in range(0, S, books):
        piece = codebook[start : start + books].float()
        if d < 64:  # torch's reductions over so few numbers are slower than a product with ones
            torch.matmul(piece * piece, ones, out=found[start : start + books])
        else:
            found[start : start + books] = torch.linalg.vector_norm(piece, dim=-1).square_()
    return found
