"""On CUDA, with few channels: top scores by one Triton kernel, which never writes the scores themselves.

Triton comes with torch's CUDA builds and is not asked for otherwise; without it torch_backend runs on the GPU.
"""

import torch
from torch import Tensor

from stscq.quantization.search.prepared import Norms, PreparedCodebooks
from stscq.quantization.search.scores import Backend, Tile, TopScores, largest_tile
from stscq.quantization.search.torch_backend import latents_of

try:
    import triton  # type: ignore[import-not-found]
    import triton.language as tl  # type: ignore[import-not-found]
except ImportError:
    triton = None

MOST_CHANNELS = 64


def usable(z: Tensor) -> bool:
    """Whether the kernel can take these latents (... x d)."""
    return triton is not None and z.is_cuda and z.shape[-1] <= MOST_CHANNELS


class CudaBackend(Backend):
    """Latents stand as they are, once for each group of a tile. Finds no entries."""

    def __init__(self, z: Tensor, codebooks: PreparedCodebooks):
        self.codebooks, self.N, self.with_entry = codebooks, z.shape[1], False
        self.roundings = codebooks.d
        self.tile_size = largest_tile(codebooks, self.N * codebooks.d, self.N, self.N)
        self.z = z.repeat(self.tile_size.groups, 1, 1)

    def tile_scores(self, tile: Tile, entries: Tensor, norms: Norms) -> TopScores:
        z = latents_of(tile, self.z, len(entries))
        return TopScores(run_kernel(z, entries, norms, self.codebooks.metric), None, None)


def run_kernel(z: Tensor, entries: Tensor, norms: Norms, metric: str) -> Tensor:
    """R x N: for each of R x N x d latents the largest score among R x K x d entries, all float32."""
    (R, N, d), K = z.shape, entries.shape[1]
    z, entries = z.contiguous(), entries.contiguous()
    top = torch.empty((R, N), device=z.device, dtype=torch.float32)
    correction = z if norms.correction is None else norms.correction.contiguous()
    mode = 0 if norms.correction is None else 1 if metric == "cosine" else 2
    block = 16 if N <= 16 else 32
    kernel[(R, triton.cdiv(N, block))](
        z, entries, correction, top, N, K, d, mode, block, 64, max(16, triton.next_power_of_2(d))
    )
    return top


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator]
    def kernel(  # type: ignore[no-untyped-def]
        z, entries, correction, top, N, K, d,
        MODE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, D: tl.constexpr,
    ):  # fmt: skip
        """A program takes ROWS latents of one codebook past all its entries, COLUMNS at a time."""
        codebook = tl.program_id(0).to(tl.int64)
        row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
        channel = tl.arange(0, D)
        inside = (row[:, None] < N) & (channel[None] < d)
        latents = tl.load(z + codebook * N * d + row[:, None] * d + channel[None], mask=inside, other=0.0)
        best = tl.full((ROWS,), float("-inf"), tl.float32)
        for first in range(0, K, COLUMNS):
            k = first + tl.arange(0, COLUMNS)
            there = (k[None] < K) & (channel[:, None] < d)
            columns = tl.load(entries + codebook * K * d + k[None] * d + channel[:, None], mask=there, other=0.0)
            score = tl.dot(latents, columns, input_precision="ieee")
            if MODE == 1:
                score *= tl.load(correction + codebook * K + k, mask=k < K, other=0.0)[None]
            if MODE == 2:
                score -= tl.load(correction + codebook * K + k, mask=k < K, other=0.0)[None]
            score = tl.where(k[None] < K, score, float("-inf"))
            best = tl.maximum(best, tl.max(score, 1))
        tl.store(top + codebook * N + row, best, mask=row < N)
