"""A second chance for entries that no latent chooses: gradients never reach them, so they would stay unused for ever.

Common practice since Jukebox (Dhariwal et al., 2020); not in the paper. Axes as in `codebooks`.
"""

import torch
from torch import Tensor, nn

from stscq.quantization.codebooks import Codebooks
from stscq.quantization.search import Assignment, normalise


class Revival(nn.Module):
    """Counts how often each entry was chosen, since it last moved the idle ones onto latents."""

    def __init__(self, codebooks: Codebooks):
        super().__init__()
        self.uses: Tensor
        self.register_buffer("uses", torch.zeros(codebooks.weight.shape[:3], dtype=torch.int64))

    def count(self, assignment: Assignment) -> None:
        group, index = assignment
        S = self.uses.shape[1]
        token = torch.arange(index.shape[1], device=index.device) % S
        places = torch.broadcast_tensors(group[:, None], token, index)
        self.uses.index_put_(places, torch.ones_like(index), accumulate=True)

    @torch.no_grad()
    def revive(self, codebooks: Codebooks, z_e: Tensor, random: torch.Generator) -> None:
        """Move every idle entry of a group that is in use onto a random latent of its token (z_e: N x T x d).

        Groups that no image chose stay as they are: choosing groups is the router's business, or NN's failure.
        """
        group_in_use = self.uses.sum((1, 2), keepdim=True) > 0
        m, s, k = ((self.uses == 0) & group_in_use).nonzero(as_tuple=True)
        N, T, _ = z_e.shape
        image = torch.randint(0, N, m.shape, generator=random).to(z_e.device)
        token = s if self.uses.shape[1] > 1 else torch.randint(0, T, m.shape, generator=random).to(z_e.device)
        codebooks.weight[m, s, k] = normalise(z_e[image, token], codebooks.metric)
        self.uses.zero_()
