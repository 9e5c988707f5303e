"""Images through a codec and back, by the bytes that would be stored. Axes: N images of S x S pixels."""

from collections.abc import Sequence

import numpy as np
import torch

from stscq.codec.packing import pack, unpack
from stscq.quantization.search import Assignment
from stscq.training.batches import to_float, to_uint8
from stscq.training.tokenizer_io import Codec

BATCH = 50


@torch.no_grad()
def encode(codec: Codec, images: np.ndarray, rows: np.ndarray, selection: str) -> tuple[Assignment, list[bytes]]:
    """images[rows] (uint8, S x S x 3 each) -> what was chosen, on the CPU, and each image's fixed-length payload."""
    parts = []
    for i in range(0, len(rows), BATCH):
        z_e = codec.tokenizer.encode(to_float(images[rows[i : i + BATCH]], codec.tokenizer.device))
        group = codec.router(z_e).argmax(1) if selection == "cr" and codec.router is not None else None
        parts.append(codec.codebooks.search(z_e, group))
    assignment = Assignment(torch.cat([p.group for p in parts]).cpu(), torch.cat([p.index for p in parts]).cpu())
    M, K = codec.codebooks.M, codec.codebooks.K
    chosen = zip(assignment.group.tolist(), assignment.index.numpy(), strict=True)
    return assignment, [pack(group, index, K, M) for group, index in chosen]


@torch.no_grad()
def decode(codec: Codec, payloads: Sequence[bytes]) -> np.ndarray:
    """Payloads of one batch -> N x S x S x 3 uint8: only what the bytes say reaches the decoder."""
    device = codec.tokenizer.device
    unpacked = [unpack(p, codec.tokenizer.T, codec.codebooks.K, codec.codebooks.M) for p in payloads]
    group = torch.tensor([group for group, _ in unpacked], device=device)
    index = torch.from_numpy(np.stack([index for _, index in unpacked])).to(device)
    return to_uint8(codec.tokenizer.decode(codec.codebooks.lookup(Assignment(group, index))))
