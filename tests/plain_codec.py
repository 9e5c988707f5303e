"""A trained codec by its modules alone, without bundle and bytes: what the codec's results are held against."""

import numpy as np
import torch

from stscq.data.tensors import to_float, to_uint8
from stscq.quantization.search import Assignment
from stscq.quantization.trained_codec import TrainedCodec


@torch.no_grad()
def encode(codec: TrainedCodec, images: np.ndarray, selection: str) -> Assignment:
    """N x S x S x 3 uint8 to group and indices, on the CPU."""
    z_e = codec.tokenizer.encode(to_float(images, codec.tokenizer.device))
    group = codec.router(z_e).argmax(1) if selection == "router" else None
    return Assignment(*(part.cpu() for part in codec.codebooks.search(z_e, group)))


@torch.no_grad()
def decode(codec: TrainedCodec, assignment: Assignment) -> np.ndarray:
    """The inverse, as far as there is one."""
    on_device = Assignment(*(part.to(codec.tokenizer.device) for part in assignment))
    return to_uint8(codec.tokenizer.decode(codec.codebooks.lookup(on_device)))
