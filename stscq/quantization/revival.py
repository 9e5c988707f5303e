"""A second chance for entries that no latent chooses: nothing ever moves them, so they would stay unused for ever.

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
        where = torch.broadcast_tensors(group[:, None], token, index)
        self.uses.index_put_(where, torch.ones_like(index), accumulate=True)

    @torch.no_grad()
    def revive(self, codebooks: Codebooks, z: Tensor, group: Tensor, random: torch.Generator) -> None:
        """Move the idle entries of each image's group onto latents of a batch (z: B x T x d; group: B).

        An entry goes to its own token of a random image among those that use its group now; entries of groups that no
        image uses stay where they are: choosing groups is the router's business.
        """
        m, s, k = ((self.uses == 0) & codebooks.has()).nonzero(as_tuple=True)
        here = torch.isin(m, group)
        m, s, k = m[here], s[here], k[here]
        B, T, _ = z.shape
        # The images of a group lie together in `order`; a random place between its first and its last.
        order = group.argsort()
        first, last = torch.searchsorted(group[order], torch.stack([m, m + 1]))
        share = torch.rand(len(m), generator=random).to(z.device)
        image = order[(first + (share * (last - first)).long()).clamp(max=B - 1)]
        token = s if self.uses.shape[1] > 1 else torch.randint(0, T, m.shape, generator=random).to(z.device)
        codebooks.weight[m, s, k] = normalise(z[image, token], codebooks.metric)
        self.uses.zero_()
