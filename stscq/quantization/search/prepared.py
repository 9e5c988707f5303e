"""Codebooks as the search reads them: slabs of float32 entries, and the norms that turn products into distances."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from stscq.backbones.base import Metric

KEPT = 1 << 23
"""Norms that are kept between searches (floats, 32 MiB); those of further groups are computed again each time."""
CONVERTED = 1 << 20
"""Entries' channels that are converted or squared at once (floats, 4 MiB)."""
UNIT = 2.0**-21
"""How far from 1 the length of a vector may be that was l2-normalised in float32."""
TINY = 1e-12
"""As torch.nn.functional.normalize has it."""


class Norms(NamedTuple):
    """Norms of R codebooks. correction: R x 1 x K, what scores are multiplied by (cosine) or lowered by (euclidean),
    None where products are scores already; reach: R, the length of the longest entry as it enters the score."""

    correction: Tensor | None
    reach: Tensor


class PreparedCodebooks:
    """M groups of S x K x d: one tensor, or a sequence of tensors that may lie in files (memory maps) and be read late.
    A sequence that has a tensor's shape, dtype and device is not read to learn them.

    fp32, bf16 or fp16. Nothing is copied but the piece at hand, and that not if entries are read in_place. Norms are
    computed when a group is first searched, and kept up to a fixed size: make a new object when entries have changed.
    For the cosine, a group whose entries all are unit vectors needs no norms.

    one_tensor: whether several groups can be read as one; converted: floats that an entry takes before it can be
    multiplied, if it is not read where it lies; scratch: floats that a codebook may take for norms while it is
    searched, if they are not all kept; reach: M x S, see `Norms`, known of the groups that were searched.
    """

    def __init__(self, groups: Tensor | Sequence[Tensor], metric: Metric):
        self.groups, self.metric = groups, metric
        self.M = len(groups)
        like: Any = groups if hasattr(groups, "shape") else groups[0][None]
        _, self.S, self.K, self.d = like.shape
        self.device, self.dtype = like.device, like.dtype
        self.one_tensor = isinstance(groups, Tensor) and groups.is_contiguous()
        self.in_place = self.dtype == torch.float32 and (not isinstance(like, Tensor) or like[0].is_contiguous())
        self.converted = 0 if self.in_place else self.d
        kept = 0 if metric == "inner" else min(self.M, KEPT // (self.S * self.K))
        self.kept = torch.empty((kept, self.S, self.K), device=self.device, dtype=torch.float32)
        self.reach = torch.empty((self.M, self.S), device=self.device, dtype=torch.float32)
        self.scratch = 0 if metric == "inner" or kept == self.M else self.K
        self.measured = [False] * self.M
        self.uncorrected = [metric == "inner"] * self.M
        self.latest: tuple[int, Tensor] | None = None

    @property
    def parts(self) -> list[tuple[slice, Self]]:
        """As of codebooks of unequal size: all tokens have one size."""
        return [(slice(None), self)]

    def entries(self, groups: range, codebooks: slice) -> Tensor:
        """R x K x d in float32: some codebooks of one group, or all codebooks of several."""
        if len(groups) > 1:
            return self.groups[groups.start : groups.stop].flatten(0, 1).float()  # type: ignore[union-attr]
        return self.groups[groups.start][codebooks].float()

    def gather(self, group: Tensor, codebook: Tensor, index: Tensor) -> Tensor:
        """Single entries, of shapes that broadcast: ... x d."""
        if isinstance(self.groups, Tensor):
            return self.groups[group, codebook, index]
        group, codebook, index = torch.broadcast_tensors(group, codebook, index)
        entries = torch.empty((*group.shape, self.d), dtype=self.dtype, device=self.device)
        for g in group.unique().tolist():
            here = group == g
            entries[here] = self.groups[g][codebook[here], index[here]]
        return entries

    def norms(self, groups: range, codebooks: slice) -> Norms:
        """The norms of the same codebooks. Raises ValueError for groups of another size, or no finite numbers."""
        for g in groups:
            if not self.measured[g]:
                self._measure(g)
        reach = self.reach[groups.start : groups.stop, codebooks].flatten()
        if all(self.uncorrected[g] for g in groups):
            return Norms(None, reach)
        if groups.stop <= len(self.kept):
            return Norms(self.kept[groups.start : groups.stop, codebooks].reshape(-1, 1, self.K), reach)
        return Norms(torch.cat([self._correction(g, codebooks) for g in groups])[:, None], reach)

    def _correction(self, group: int, codebooks: slice) -> Tensor:
        """R x K, for some codebooks of one group: kept, the latest, or computed anew."""
        if group < len(self.kept):
            return self.kept[group, codebooks]
        if self.uncorrected[group]:  # a unit group among others: a correction by 1 is none
            return self.reach.new_ones(self.groups[group][codebooks].shape[:2])
        if self.latest is not None and self.latest[0] == group:
            return self.latest[1][codebooks]
        return correction_of(squared_norms(self.groups[group][codebooks]), self.metric)

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
            self.uncorrected[group] = max(most - 1, 1 - least) <= 2 * UNIT
        self.reach[group] = 1 if self.metric == "cosine" else squares.amax(-1).sqrt()
        if group < len(self.kept):
            self.kept[group] = correction_of(squares, self.metric)
        elif not self.uncorrected[group]:
            self.latest = (group, correction_of(squares, self.metric))
        self.measured[group] = True


def correction_of(squares: Tensor, metric: Metric) -> Tensor:
    """Inverse lengths (cosine), or half squared ones, from squared lengths, which are overwritten."""
    if metric == "cosine":
        return squares.sqrt_().clamp_(min=TINY).reciprocal_()
    return squares.mul_(0.5)


def squared_norms(codebook: Tensor) -> Tensor:
    """S x K in float32, a few codebooks at a time."""
    S, K, d = codebook.shape
    together = max(1, CONVERTED // (K * d))
    squares = torch.empty((S, K), device=codebook.device, dtype=torch.float32)
    ones = torch.ones(d, device=codebook.device, dtype=torch.float32)
    for start in range(0, S, together):
        piece = codebook[start : start + together].float()
        if d < 64:  # torch's reductions over so few numbers are slower than a product with ones
            torch.matmul(piece * piece, ones, out=squares[start : start + together])
        else:
            squares[start : start + together] = torch.linalg.vector_norm(piece, dim=-1).square_()
    return squares
