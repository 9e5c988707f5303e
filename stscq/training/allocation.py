"""How many entries each token gets where codebooks are of unequal size: bits where the identity is.

python -m stscq.training.allocation --start models/lfw/titok_s/stage1_tokenizer/fine_tuned/seed1 --entries 64 ...

The paper gives every token as many entries as every other, and names other sizes as future work (section 5); this is
ours. With w_j, how much the embedding of the reconstruction moves by an error in token j, and D_j(K), the error that K
entries leave there, bits go one at a time where w_j^power times the error falls most. docs/beyond.md measures it.

Axes: N training faces, T tokens, K entries, d channels, E embedding length.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from stscq.backbones import Tokenizer
from stscq.bits import bits_of
from stscq.cli_tools import run
from stscq.data.allocation import Allocation, write_allocation
from stscq.data.latents import read_latents
from stscq.device import own_device
from stscq.errors import DataError
from stscq.files import progress_seconds
from stscq.quantization.initialise import token_centres
from stscq.quantization.search import normalise
from stscq.quantization.trained_codec import load_codec
from stscq.recognition.frozen import Frozen, load_frozen
from stscq.training.batches import generator
from stscq.training.faces import training_batches

MEASURED, BATCH, DIRECTIONS = 128, 32, 2
"""Faces on which the sensitivities are measured, how many together, and random directions of the embedding for each."""
PER_ENTRY = 12
"""Latents of a token, at least, for each entry that it may get."""


def main(
    store: Path,
    split: Path,
    start: Path,
    latents: Path,
    recogniser: Path,
    out: Path,
    seed: int,
    entries: int,
    power: float,
) -> None:
    """Writes OUT/allocation.json: `entries` (K_j of each token), `sensitivity` (w_j, mean 1) and `errors` (D_j by K).

    ENTRIES: the K of equal codebooks that take as many bits, T log2 K. START: a finished tokenizer; LATENTS: those of
    the training faces (stscq.training.latents), which SPLIT marks `train` in STORE; RECOGNISER: that of training. POWER
    0 looks at errors alone, 1 at what an error does to identity where it is small. Raises DataError for too few faces.
    """
    device = own_device()
    codec, _ = load_codec(start, device)
    tokenizer = codec.tokenizer.requires_grad_(False)
    N = len(training_batches(store, split, BATCH, seed, device).rows)
    kept = torch.from_numpy(np.array(read_latents(latents, N, tokenizer.T, tokenizer.d)))
    faces = torch.randperm(N, generator=generator(seed, "sensitivity", 0))[:MEASURED]
    w = sensitivity(tokenizer, load_frozen(recogniser, device), kept[0, faces].to(device), seed)
    z = normalise(kept.flatten(0, 1), tokenizer.metric)
    sizes = [2**bits for bits in range((len(z) // PER_ENTRY).bit_length())]
    if entries > sizes[-1]:
        raise DataError(f"{latents}: {len(z)} latents a token are too few for {entries} entries; keep more copies")
    errors = {K: errors_with(z, K, seed) for K in tqdm(sizes, desc="K", mininterval=progress_seconds())}
    D = torch.stack(list(errors.values()))
    K_j = allocate(D, w**power, tokenizer.T * bits_of(entries, "entries"))
    write_allocation(Allocation(K_j, power, w.tolist(), {K: error.tolist() for K, error in errors.items()}), out)


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


def allocate(D: Tensor, w: Tensor, bits: int) -> list[int]:
    """K_j of each token: `bits` in all, each given to the token whose weighted error it lowers most.

    D: errors with 1, 2, 4, ... entries, L x T; w: T. Raises ValueError for more bits than fit.
    """
    gain = w * (D[:-1] - D[1:]).clamp(min=0)
    given = [0] * D.shape[1]
    for _ in range(bits):
        open_gains = [float(gain[n, j]) if n < len(gain) else -1.0 for j, n in enumerate(given)]
        best = max(range(len(given)), key=open_gains.__getitem__)
        if open_gains[best] < 0:
            raise ValueError(f"{bits} bits are more than {len(given)} tokens of up to {2 ** len(gain)} entries take")
        given[best] += 1
    return [2**n for n in given]


if __name__ == "__main__":
    run(main)
