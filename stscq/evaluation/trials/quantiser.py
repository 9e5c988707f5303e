"""A quantiser as a trial hands it over, and its symbols as bytes.

Axes: N images, M groups, T tokens, K symbols a token, d channels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stscq.bits import payload_bits
from stscq.codec.bitstream import entropy
from stscq.codec.bitstream.packing import pack, unpack
from stscq.codec.bitstream.symbol_tables import SymbolTables, fit
from stscq.quantization.search import Assignment

TOGETHER = 256
"""Images that are quantised at once."""


class Quantiser(NamedTuple):
    """assign: z_e (N x T x d) to symbols; vectors: symbols to what the decoder takes, N x T x d.

    numbers: float32 numbers that coding and decoding hold besides the tokenizer: codebooks, projections, router.
    """

    M: int
    K: int
    numbers: int
    assign: Callable[[Tensor], Assignment]
    vectors: Callable[[Assignment], Tensor]


@torch.no_grad()
def symbols_of(quantiser: Quantiser, z_e: Tensor) -> Assignment:
    """Of N images, some at a time."""
    parts = [quantiser.assign(part) for part in z_e.split(TOGETHER)]
    return Assignment(torch.cat([p.group for p in parts]), torch.cat([p.index for p in parts]))


class Bytes(NamedTuple):
    """How symbols are written: T tokens of K symbols in M groups; tables: how likely each is, for range coding."""

    T: int
    K: int
    M: int
    tables: SymbolTables

    @property
    def bits(self) -> int:
        """T log2 K + log2 M."""
        return payload_bits(self.T, self.K, self.M)

    def write(self, symbols: Assignment) -> list[bytes]:
        """Fixed-length payloads, one an image."""
        return [pack(int(g), i, self.K, self.M) for g, i in zip(symbols.group, symbols.index.numpy(), strict=True)]

    def read(self, payloads: Sequence[bytes]) -> Assignment:
        """The inverse of `write`."""
        group, index = zip(*(unpack(payload, self.T, self.K, self.M) for payload in payloads), strict=True)
        return Assignment(torch.tensor(group), torch.from_numpy(np.stack(index)))

    def coded(self, symbols: Assignment) -> np.ndarray:
        """N lengths in bytes: range-coded by the tables, or fixed-length where that is shorter."""
        fixed = -(-self.bits // 8)
        found = [
            len(entropy.encode(int(g), i, self.tables.group, self.tables.tokens[int(g)]))
            for g, i in zip(symbols.group, symbols.index.numpy(), strict=True)
        ]
        return np.minimum(found, fixed)


def bytes_of(quantiser: Quantiser, training: Assignment, identity: np.ndarray) -> Bytes:
    """The codec's own symbol tables, of the training images' symbols; identity: their people (N)."""
    group, index = training.group.numpy(), training.index.numpy()
    fitted = fit(group, index, identity, quantiser.M, quantiser.K)
    return Bytes(index.shape[1], quantiser.K, quantiser.M, fitted.tables)
