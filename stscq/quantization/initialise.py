"""How codebooks start: the tokenizer's from latents, stage 1's from the tokenizer's, stage 2's from stage 1's (Eq. 12).

Axes: N latents, M groups, T tokens, K entries, d channels; K_0 entries in the tokenizer's codebook.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from stscq.backbones.base import Metric
from stscq.quantization.search import on_surface, search_group

CENTRE_ITERATIONS = 10


def global_from_latents(z_e: Tensor, K: int, metric: Metric, seed: int) -> Tensor:
    """K x d: k-means centres of the latents of some training images, N x T x d.

    Raises ValueError when there are fewer latents than entries.
    """
    from scipy.cluster.vq import kmeans2  # imported here: a third of a second that only stage 1 needs

    latents = on_surface(z_e, metric).flatten(0, 1)
    if len(latents) < K:
        raise ValueError(f"{len(latents)} latents cannot start a codebook of K = {K} entries; take more images")
    centres, _ = kmeans2(latents.double().cpu().numpy(), K, iter=CENTRE_ITERATIONS, minit="++", rng=seed)
    return on_surface(torch.from_numpy(centres).to(z_e), metric)


def grow(codebook: Tensor, z_e: Tensor, K: int, metric: Metric, seed: int) -> Tensor:
    """K x d: the given K_0 x d entries, and further ones drawn among latents (N x T x d) in proportion to their error.

    That is the step by which k-means++ chooses centres, for all new entries at once.
    Raises ValueError when there are too few latents that the codebook does not hold already.
    """
    new = K - len(codebook)
    if new <= 0:
        return codebook
    latents = on_surface(z_e, metric)
    index, _ = search_group(latents, codebook[None], metric)
    error = (latents - on_surface(codebook, metric)[index]).square().sum(-1).flatten()
    if int((error > 0).sum()) < new:
        raise ValueError(f"{len(error)} latents cannot give {new} new entries; take more images")
    chosen = torch.multinomial(error.cpu(), new, generator=torch.Generator().manual_seed(seed))
    return torch.cat([codebook, latents.flatten(0, 1)[chosen.to(latents.device)]])


def token_shared(published: Tensor, z_e: Tensor, K: int, M: int, metric: Metric, jitter: float, seed: int) -> Tensor:
    """M x 1 x K x d: stage 1's start, the published codebook (K_0 x d) or, with K < K_0, k-means centres of z_e.

    z_e: N x T x d latents of the training set. All groups start alike but for `jitter`: Gaussian noise whose standard
    deviation is that share of the codebook's own (ours, not the paper's: without it NN selection can never leave
    group 0). Raises ValueError when K > K_0.
    """
    K_0, d = published.shape
    if K > K_0:
        raise ValueError(f"K = {K} is more than the tokenizer's {K_0} entries; lower K or enlarge the tokenizer's")
    start = published if K == K_0 else global_from_latents(z_e, K, metric, seed)
    weight = start.expand(M, 1, K, d)
    if M == 1:
        return weight.clone()
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    return on_surface(weight + jitter * start.std() * noise.to(weight.device), metric)


def token_centres(z: Tensor, entries: Sequence[int], seed: int) -> Tensor:
    """T x K x d: K_j = entries[j] k-means centres of each token's own latents, zeros behind the last; K is the largest.

    z: N x T x d, on the surface where entries start.
    """
    from scipy.cluster.vq import kmeans2

    own = z.float().cpu().numpy()
    centres = z.new_zeros(len(entries), max(entries), z.shape[2])
    for j, K in enumerate(entries):
        found, _ = kmeans2(own[:, j], K, iter=CENTRE_ITERATIONS, minit="points", missing="warn", rng=seed)
        centres[j, :K] = torch.from_numpy(found)
    return centres


def token_specific(shared: Tensor, T: int) -> Tensor:
    """M x T x K x d: stage 2's start (Eq. 12), every C_i^j a copy of its group's token-shared C_i (M x 1 x K x d)."""
    M, _, K, d = shared.shape
    return shared.expand(M, T, K, d).clone()
