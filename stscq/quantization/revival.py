"""A second chance for entries that no latent chooses: nothing ever moves them, so they would stay unused for ever.

Common practice since Jukebox (Dhariwal et al., 2020); not in the paper. Axes as in `codebooks`; R latents kept a group.
"""

import torch
from torch import Tensor, nn

from stscq.quantization.codebooks import Codebooks
from stscq.quantization.search import Assignment, normalise

PATIENCE = 4
"""Latents of its group for each of its K entries that an entry may miss. Of K entries in equal use exp(-4) = 1.8 % miss
so many by chance; with half as many 13.5 % would be moved though nothing is wrong with them."""
KEPT = 4096
"""Images whose latents are kept, over all groups: 4 T d KEPT bytes, whatever M and K are."""


class Revival(nn.Module):
    """Each entry's own record of use within its group, and the last latents of each group, onto which idle ones move.

    seen: M, latents that each codebook of a group has quantised; checked: M, the same at the last `revive`; last:
    M x S x K, what `seen` was when an entry was last chosen or moved. latents: M x R x T x d, a ring for each group,
    R = KEPT / M; stored: M, images that came into the ring since it was last emptied.
    """

    seen: Tensor
    checked: Tensor
    last: Tensor
    latents: Tensor
    stored: Tensor

    def __init__(self, codebooks: Codebooks, T: int):
        super().__init__()
        M, S, K, d = codebooks.weight.shape
        self.latents_an_image = T // S
        self.register_buffer("seen", torch.zeros(M, dtype=torch.int64))
        self.register_buffer("checked", torch.zeros(M, dtype=torch.int64))
        self.register_buffer("last", torch.zeros(M, S, K, dtype=torch.int64))
        self.register_buffer("latents", torch.zeros(M, -(-KEPT // M), T, d))
        self.register_buffer("stored", torch.zeros(M, dtype=torch.int64))

    @torch.no_grad()
    def record(self, assignment: Assignment, z: Tensor) -> None:
        """What a batch chose, and its latents (z: B x T x d) as entries may start on them."""
        group, index = assignment
        self.seen += self.latents_an_image * group.bincount(minlength=len(self.seen))
        token = torch.arange(index.shape[1], device=index.device) % self.last.shape[1]
        where = torch.broadcast_tensors(group[:, None], token, index)
        self.last.index_put_(where, self.seen[group][:, None].expand_as(index))
        self._keep(z, group)

    def _keep(self, z: Tensor, group: Tensor) -> None:
        """Put each image's latents into its group's ring, over the oldest there."""
        R = self.latents.shape[1]
        count = group.bincount(minlength=len(self.seen))
        order = group.argsort(stable=True)
        group = group[order]
        rank = torch.arange(len(group), device=group.device) - (count.cumsum(0) - count)[group]
        fits = rank >= count[group] - R  # of more images than the ring holds the last ones
        self.latents[group[fits], ((self.stored[group] + rank) % R)[fits]] = z[order[fits]]
        self.stored += count

    def idle(self) -> Tensor:
        """M x S x K: entries that nothing chose since the last `revive`, nor among PATIENCE K latents of their group.

        None in groups that saw no image since: choosing groups is the router's business.
        """
        since = self.seen - self.checked
        missed = (since.clamp(min=PATIENCE * self.last.shape[2])).where(since > 0, self.seen + 1)
        return self.seen[:, None, None] - self.last >= missed[:, None, None]

    @torch.no_grad()
    def revive(self, codebooks: Codebooks, random: torch.Generator) -> int:
        """Move idle entries onto latents of their own group and token. Returns how many.

        No latent is taken twice, neither now nor later: where a ring has too few, the other entries wait.
        """
        idle = self.idle() & codebooks.has()
        m, s = idle.any(2).nonzero(as_tuple=True)
        shared = idle.shape[1] == 1  # then a group's codebook takes the latents of all its tokens
        usable = self._usable()[m]
        usable = usable.repeat_interleave(self.latents_an_image, 1) if shared else usable
        # The usable places of each row in random order, then the others.
        order = (torch.rand(usable.shape, generator=random).to(usable.device) + usable).argsort(1, descending=True)
        row, k = idle[m, s].nonzero(as_tuple=True)
        rank = (idle[m, s].cumsum(1) - 1)[row, k]
        enough = rank < usable.sum(1)[row]
        row, k, rank = row[enough], k[enough], rank[enough]
        m, s, place = m[row], s[row], order[row, rank]
        z = self.latents.flatten(1, 2)[m, place] if shared else self.latents[m, place, s]
        codebooks.weight[m, s, k] = normalise(z, codebooks.metric)
        self.last[m, s, k] = self.seen[m]
        self.stored[m] = 0
        self.checked.copy_(self.seen)
        return len(k)

    def _usable(self) -> Tensor:
        """M x R: places of the rings that hold an image which no earlier place holds (batches repeat kept latents)."""
        R = self.latents.shape[1]
        filled = torch.arange(R, device=self.stored.device) < self.stored[:, None]
        value = self.latents.sum((2, 3), dtype=torch.float64).where(filled, torch.nan)
        ordered, place = value.sort(dim=1, stable=True)
        again = torch.zeros_like(filled)
        again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
        return filled & ~torch.zeros_like(filled).scatter(1, place, again)
