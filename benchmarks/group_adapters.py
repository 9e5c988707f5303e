"""A decoder with a low-rank correction for each codebook group, as the paper's authors suggest (LoRA, Hu et al. 2021).

It takes no further bits, for the group is sent anyway. Axes: B images, M groups, T tokens, d channels, r rank.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stscq.backbones import Tokenizer
from stscq.recognition.frozen import Frozen
from stscq.training.losses import ImageLossWeights, image_losses


class GroupConv(nn.Module):
    """A frozen convolution, and up[g] @ down[g] added to its weight for images of group g; nothing at the start."""

    def __init__(self, conv: nn.Conv2d, M: int, r: int):
        super().__init__()
        out, inside = conv.weight.shape[0], conv.weight[0].numel()
        self.conv, self.group = conv.requires_grad_(False), 0
        self.down = nn.Parameter(torch.randn(M, r, inside) / inside**0.5)
        self.up = nn.Parameter(torch.zeros(M, out, r))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight + (self.up[self.group] @ self.down[self.group]).view_as(self.conv.weight)
        return F.conv2d(x, weight, self.conv.bias, padding=self.conv.padding)


def adapt(module: nn.Module, M: int, r: int) -> None:
    """Puts a GroupConv in the place of every convolution, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            setattr(module, name, GroupConv(child, M, r))
        else:
            adapt(child, M, r)


def decode_by_group(tokenizer: Tokenizer, z_q: Tensor, group: Tensor) -> Tensor:
    """z_q (B x T x d) -> B x 3 x S x S, each image by its group's decoder; group: B."""
    parts = [(own := torch.nonzero(group == g)[:, 0], decode_one(tokenizer, z_q[own], int(g))) for g in group.unique()]
    order = torch.cat([own for own, _ in parts]).argsort()
    return torch.cat([images for _, images in parts])[order]


def decode_one(tokenizer: Tokenizer, z_q: Tensor, group: int) -> Tensor:
    for module in tokenizer.modules():
        if isinstance(module, GroupConv):
            module.group = group
    return tokenizer.decode(z_q)


def tuning_loss(
    quantise: Callable[[Tensor], tuple[Tensor, Tensor]], tokenizer: Tokenizer, frozen: Frozen, weights: ImageLossWeights
) -> Callable[[Tensor], dict[str, Tensor]]:
    """The loss of stage 3 on a batch of faces (B x 3 x S x S); quantise: faces to z_q and group, without gradient."""

    def loss(faces: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            z_q, group = quantise(faces)
        return image_losses(decode_by_group(tokenizer, z_q, group), faces, frozen, weights)

    return loss
