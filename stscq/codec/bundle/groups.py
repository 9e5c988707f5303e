"""The codebook groups of a bundle, each read when it is first needed."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stscq.codec.bundle.read import Bundle

KEPT_BYTES = 1 << 29
"""How many bytes of groups stay in memory; the least recently used go first."""


class Groups(Sequence[Tensor]):
    """M groups of S x K x d in float32. shape, dtype, device: as of one tensor, known without reading."""

    dtype = torch.float32

    def __init__(self, bundle: Bundle, device: torch.device):
        self.bundle, self.device, sizes = bundle, device, bundle.sizes
        self.shape = (sizes.M, 1 if sizes.shared else sizes.T, sizes.K, sizes.d)
        self.kept: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, group: Any) -> Any:
        """S x K x d of one group. Raises BundleError when it is missing or damaged."""
        if not 0 <= group < len(self):
            raise IndexError(f"group {group} of {len(self)}")
        if group not in self.kept:
            self.kept[group] = self.bundle.codebook(group).to(self.device, torch.float32)
        self.kept.move_to_end(group)
        codebooks = self.kept[group]
        while len(self.kept) > max(1, KEPT_BYTES // (codebooks.numel() * codebooks.element_size())):
            self.kept.popitem(last=False)
        return codebooks

    def together(self) -> Tensor:
        """M x S x K x d, read anew."""
        self.kept.clear()
        together = torch.empty(self.shape, device=self.device, dtype=self.dtype)
        for group, codebooks in enumerate(together):
            codebooks.copy_(self.bundle.codebook(group))
        return together
