"""Latents and codebooks for the tests of the search, and the backends that it can take."""

import torch

from stscq.quantization.initialise import token_shared, token_specific
from stscq.quantization.search import cpu_backend

METRICS = ["cosine", "euclidean", "inner"]
BACKENDS = ["kernel", "torch"]


def only(backend_name, patch):
    """The search takes this backend on this machine."""
    if backend_name == "torch":
        patch.setattr(cpu_backend, "usable", lambda z, codebooks: False)


def problem(seed, B, M, T, S, K, d):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, d, generator=random), torch.randn(M, S, K, d, generator=random)


def trained(seed, B, M, T, K, d, metric):
    """Codebooks that look trained: most entries where the latents are, copies among them, groups that differ little."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(K, d, generator=random) * torch.logspace(0, -1.5, d)
    z = centres[torch.randint(0, K, (B, T), generator=random)] + 0.05 * torch.randn(B, T, d, generator=random)
    weight = token_specific(token_shared(centres, z, K, M, metric, jitter=1e-3, seed=seed), T)
    weight[:, :, K // 2 :: 3] = weight[:, :, : len(range(K // 2, K, 3))]  # copies, behind their originals
    weight[M // 2] = weight[0]
    return z, weight


def assert_same(found, wanted):
    assert torch.equal(found.group, wanted.group)
    assert torch.equal(found.index, wanted.index)
