"""The codebooks C_i^j as one tensor, from the shared global codebook to switchable token-specific groups.

Axes: B images, M groups, T tokens, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stscq.backbones.base import Metric
from stscq.quantization.index_propagation import Propagation
from stscq.quantization.lookup import positions
from stscq.quantization.search import (
    Assignment,
    Prepared,
    normalise,
    on_surface,
    prepare_codebooks,
    search_cr,
    search_nn,
)


class Quantised(NamedTuple):
    """z_q, z: B x T x d (both l2-normalised for cosine), z the latents that z_q stands for; and what was chosen.

    propagation: what IBQ's losses need besides; None for the other metrics.
    """

    z_q: Tensor
    z: Tensor
    assignment: Assignment
    propagation: Propagation | None


class Rows(torch.autograd.Function):
    """weight[index] as nn.Embedding(sparse=True) has it: the gradient holds the rows that were read, and no zeros."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, *index: Tensor) -> Tensor:
        ctx.save_for_backward(*index)
        ctx.shape = weight.shape
        return weight[index]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        places = torch.stack([i.flatten() for i in torch.broadcast_tensors(*ctx.saved_tensors)])
        values = gradient.reshape(places.shape[1], *ctx.shape[len(places) :])
        return torch.sparse_coo_tensor(places, values, ctx.shape, check_invariants=False), *(None for _ in places)


class Codebooks(nn.Module):
    """`weight` is M x S x K x d: M = 1, S = 1 the global baseline; M = 1, S = T token-specific; M > 1 switchable.

    sparse: gradients of the entries in use only, for stscq.training.optimiser's lazy Adam; entries: how many of the K
    each token has (T), None where all have K.
    """

    def __init__(self, weight: Tensor, metric: Metric, sparse: bool = False, entries: list[int] | None = None):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.metric = metric
        self.sparse = sparse
        self.entries = entries
        self._prepared: tuple[object, Prepared] | None = None

    def rows(self, *index: Tensor) -> Tensor:
        """weight[index]."""
        if self.sparse:
            return Rows.apply(self.weight, *index)  # type: ignore[no-any-return, no-untyped-call]
        return self.weight[index]

    def has(self) -> Tensor:
        """S x K: which places hold entries; the others are padding, behind the last entry of a token."""
        S, K = self.weight.shape[1:3]
        sizes = torch.tensor([K] * S if self.entries is None else self.entries, device=self.weight.device)
        return torch.arange(K, device=self.weight.device) < sizes[:, None]

    @property
    def M(self) -> int:
        return self.weight.shape[0]

    @property
    def K(self) -> int:
        return self.weight.shape[2]

    def search(self, z_e: Tensor, group: Tensor | None = None) -> Assignment:
        """Nearest entries, in the given groups (CR; B) or in the best of all groups (NN; None)."""
        if group is None:
            return search_nn(z_e, self.prepared(), self.metric)
        return search_cr(z_e, self.prepared(), group, self.metric)

    def prepared(self) -> Prepared:
        """The entries with their norms, which are kept until an entry changes."""
        state = self.weight.data_ptr(), self.weight._version
        if self._prepared is None or self._prepared[0] != state:
            self._prepared = state, prepare_codebooks(self.weight.detach(), self.metric, self.entries)
        return self._prepared[1]

    def lookup(self, assignment: Assignment) -> Tensor:
        """z_q, B x T x d, as the decoder takes it: the inverse of the search, up to quantisation."""
        return normalise(self.rows(*positions(assignment, self.weight.shape[1])), self.metric)

    def continuous(self, z_e: Tensor) -> Tensor:
        """What the decoder gets before there is a codebook: latents on the surface where the entries will start."""
        return on_surface(z_e, self.metric)

    def forward(self, z_e: Tensor, group: Tensor | None = None) -> Quantised:
        """Quantise. z_q carries gradients to the entries, z to the encoder."""
        assignment = self.search(z_e.detach(), group)
        if self.metric == "inner":
            z_q, propagation = self._propagate_index(z_e, assignment)
            return Quantised(z_q, z_e, assignment, propagation)
        return Quantised(self.lookup(assignment), normalise(z_e, self.metric), assignment, None)

    def _propagate_index(self, z_e: Tensor, assignment: Assignment) -> tuple[Tensor, Propagation]:
        """IBQ (Shi et al., 2025): one-hot forward, softmax over all K entries of the chosen group backward.

        Group by group: at published size one group's codebooks (T x K x d) are 2 GiB. Tokens of one size together: with
        codebooks of unequal size most have far fewer entries than the largest.
        """
        groups, which = assignment.group.unique(return_inverse=True)
        z_q, entries, logits = torch.empty_like(z_e), torch.empty_like(z_e), []
        for number, codebooks in enumerate(self.rows(groups)):  # S x K x d
            images = which == number
            z, index = z_e[images], assignment.index[images]
            soft_entries, hard_entries = torch.empty_like(z), torch.empty_like(z)
            for tokens, size in self.sizes():
                own = codebooks[tokens, :size]  # t x K_j x d
                found = z[:, tokens].transpose(0, 1) @ own.mT  # t x B_group x K_j
                soft = found.softmax(-1)
                hard = F.one_hot(index[:, tokens].T, size).to(soft.dtype)
                soft_entries[:, tokens] = ((hard + soft - soft.detach()) @ own).transpose(0, 1)
                hard_entries[:, tokens] = (hard @ own).transpose(0, 1)
                logits.append(found.flatten(0, 1))
            z_q[images], entries[images] = soft_entries, hard_entries
        return z_q, Propagation(logits, entries)

    def sizes(self) -> list[tuple[Any, int]]:
        """The tokens of each size (an index into T), and how many entries they have."""
        if self.entries is None:
            return [(slice(None), self.K)]
        sizes = torch.tensor(self.entries, device=self.weight.device)
        return [((sizes == size).nonzero()[:, 0], int(size)) for size in sizes.unique()]


def straight_through(quantised: Quantised, metric: Metric) -> Tensor:
    """Value of z_q with gradients to the encoder: what the decoder gets while the encoder learns.

    The gradient is that of z (van den Oord et al., 2017); for IBQ z_q itself carries it, through its softmax.
    """
    if metric == "inner":
        return quantised.z_q
    return quantised.z + (quantised.z_q - quantised.z).detach()
