"""The latents of all training faces, once: the encoder is frozen, and every stage 1 and 2 and every bundle needs them.

python -m stscq.training.latents --start models/demo/ibq/stage1_tokenizer/fine_tuned/seed1 --copies 4 ...

Axes: C copies, N training faces, T tokens, d channels.
"""

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from stscq.backbones import Tokenizer
from stscq.cli_tools import run
from stscq.data.latents import write_latents
from stscq.data.tensors import to_float
from stscq.device import own_device
from stscq.files import progress_seconds
from stscq.quantization.trained_codec import load_codec
from stscq.training.batches import Batches, augment, generator
from stscq.training.faces import training_batches

BATCH = 50


def main(store: Path, split: Path, start: Path, out: Path, seed: int, copies: int) -> None:
    """Writes OUT/latents.npy, (1 + COPIES) x N x T x d float32: z_e of the faces that SPLIT marks `train`, in
    order, first as they are, then COPIES times augmented anew. START: a finished tokenizer."""
    codec, _ = load_codec(start, own_device())
    batches = training_batches(store, split, BATCH, seed, own_device())
    z_e = encode_copies(codec.tokenizer, batches, copies)
    write_latents(z_e.cpu().numpy(), out / "latents.npy")


@torch.no_grad()
def encode_copies(tokenizer: Tokenizer, batches: Batches, copies: int) -> Tensor:
    """z_e of all training faces, as they are and then augmented COPIES times: (1 + copies) x N x T x d."""
    parts = []
    N = len(batches.rows)
    for copy in tqdm(range(1 + copies), desc="copies", mininterval=progress_seconds()):
        for start in range(0, N, BATCH):
            images = to_float(batches.images[batches.rows[start : start + BATCH]], batches.device)
            if copy:
                images = augment(images, generator(batches.seed, "copy", copy, start))
            parts.append(tokenizer.encode(images))
    return torch.cat(parts).unflatten(0, (1 + copies, N))


if __name__ == "__main__":
    run(main)
