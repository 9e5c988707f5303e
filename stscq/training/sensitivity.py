"""What an error in each token does to identity, and how large it is with so many entries: how entries are allocated.

python -m stscq.training.sensitivity --start models/lfw/titok_s/stage1_tokenizer/fine_tuned/seed1 ...

Axes: N training faces, T tokens, K entries, d channels, E embedding length.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from stscq.backbones import Tokenizer
from stscq.cli_tools import run
from stscq.data.latents import read_latents
from stscq.data.sensitivity import Sensitivity, write_sensitivity
from stscq.device import own_device
from stscq.files import progress_seconds
from stscq.quantization.initialise import token_centres
from stscq.quantization.search import normalise, on_surface
from stscq.quantization.trained_codec import load_codec
from stscq.recognition.frozen import Frozen, load_frozen
from stscq.training.batches import generator
from stscq.training.faces import training_batches

MEASURED, BATCH, DIRECTIONS = 128, 32, 2
"""Faces on which the sensitivities are measured, how many together, and random directions of the embedding for each."""
PER_ENTRY = 12
"""Latents of a token, at least, for each entry that it may get."""


def main(store: Path, split: Path, start: Path, latents: Path, recogniser: Path, out: Path, seed: int) -> None:
    """Writes OUT/sensitivity.json, see stscq.data.sensitivity: w_j, and D_j(K) for K = 1, 2, 4, ...

    START: a finished tokenizer; LATENTS: those of the training faces (stscq.training.latents), which SPLIT marks
    `train` in STORE; RECOGNISER: that of training. D_j stops where there are no PER_ENTRY latents for each entry.
    """
    device = own_device()
    codec, _ = load_codec(start, device)
    tokenizer = codec.tokenizer.requires_grad_(False)
    N = len(training_batches(store, split, BATCH, seed, device).rows)
    kept = torch.from_numpy(np.array(read_latents(latents, N, tokenizer.T, tokenizer.d)))
    faces = torch.randperm(N, generator=generator(seed, "sensitivity", 0))[:MEASURED]
    w = sensitivity(tokenizer, load_frozen(recogniser, device), kept[0, faces].to(device), seed)
    z = on_surface(kept.flatten(0, 1), tokenizer.metric)
    sizes = [2**bits for bits in range(max(1, len(z) // PER_ENTRY).bit_length())]
    errors = {K: errors_with(z, K, seed).tolist() for K in tqdm(sizes, desc="K", mininterval=progress_seconds())}
    write_sensitivity(Sensitivity(w.tolist(), errors), out)


def sensitivity(tokenizer: Tokenizer, recogniser: Frozen, z_e: Tensor, seed: int) -> Tensor:
    """w_j: the squared length of the Jacobian of the reconstruction's unit embedding with respect to token j, mean over
    latents of faces (N x T x d), in units of its mean over tokens: T.

    Estimated without bias from random directions v of the embedding: E |J^T v|^2 = |J|^2 for standard normal v.
    """
    total = z_e.new_zeros(z_e.shape[1])
    for number, some in enumerate(normalise(z_e, tokenizer.metric).split(BATCH)):
        z = some.clone().requires_grad_(True)
        _, embedding = recogniser.maps_and_embedding(recogniser.prepare(tokenizer.decode(z)))
        unit = F.normalize(embedding, dim=-1)
        random = generator(seed, "direction", number)
        for direction in range(DIRECTIONS):
            v = torch.randn(unit.shape, generator=random).to(unit.device)
            (gradient,) = torch.autograd.grad((unit * v).sum(), z, retain_graph=direction + 1 < DIRECTIONS)
            total += gradient.square().sum((0, 2))
    return (total / total.mean()).cpu()


def errors_with(z: Tensor, K: int, seed: int) -> Tensor:
    """D_j(K): the mean squared distance of token j's latents (z: N x T x d) to the nearest of K k-means centres: T."""
    centres = token_centres(z, [K] * z.shape[1], seed)  # T x K x d
    return torch.stack([torch.cdist(z[:, j], centres[j]).amin(1).square().mean() for j in range(z.shape[1])])


if __name__ == "__main__":
    run(main)
