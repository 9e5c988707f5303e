"""Adam for codebooks, at the cost of the entries in use: neither time nor memory is spent on groups that no batch used.

torch's SparseAdam gives the same result, but holds averages for every entry from the first step on, and adds sparse
tensors where gathered rows do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class LazyAdam(torch.optim.Optimizer):
    """Of parameters M x S x K x d whose gradients are sparse over M, S and K, or over M alone.

    An entry that has a gradient in every step moves as by torch's Adam. One that has none keeps still, and its averages
    do not fade. Averages exist for groups that were used: `slot` (M) says where a group's are, -1 nowhere.
    """

    def __init__(self, params: list[nn.Parameter], lr: float, betas: tuple[float, float], eps: float = 1e-8):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for options in self.param_groups:
            for parameter in options["params"]:
                if parameter.grad is not None:
                    move(parameter, parameter.grad.coalesce(), self.state[parameter], options)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """torch turns every tensor of a state into the parameter's type; slots are whole numbers."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state["slot"] = state["slot"].long()


def move(parameter: Tensor, gradient: Tensor, state: dict[str, Any], options: dict[str, Any]) -> None:
    """One step of Adam on the rows that the coalesced `gradient` holds."""
    M, *inner = parameter.shape
    if not state:
        state["step"] = 0
        state["slot"] = torch.full((M,), -1, device=parameter.device)
        state["average"] = state["square"] = large_zeros((0, *inner), parameter.device)
    state["step"] += 1
    group, *places = gradient.indices()
    make_room(state, group)
    values = gradient.values().flatten(1)
    rows_a_group, inside = 1, torch.zeros_like(group)
    for place, size in zip(places, inner, strict=False):
        rows_a_group, inside = rows_a_group * size, inside * size + place
    here, kept = group * rows_a_group + inside, state["slot"][group] * rows_a_group + inside
    averages, squares, weights = (t.view(-1, values.shape[1]) for t in (state["average"], state["square"], parameter))
    first, second = options["betas"]
    average = averages[kept].lerp_(values, 1 - first)
    square = squares[kept].mul_(second).addcmul_(values, values, value=1 - second)
    averages.index_copy_(0, kept, average)
    squares.index_copy_(0, kept, square)
    scale = square.sqrt_().div_((1 - second ** state["step"]) ** 0.5).add_(options["eps"])
    rate = options["lr"] / (1 - first ** state["step"])
    weights.index_copy_(0, here, weights[here].addcdiv_(average, scale, value=-rate))


def make_room(state: dict[str, Any], group: Tensor) -> None:
    """Give the groups that are used for the first time places for their averages; room grows by doubling."""
    slot = state["slot"]
    new = group[slot[group] < 0].unique()
    if not len(new):
        return
    used = int((slot >= 0).sum())
    slot[new] = torch.arange(used, used + len(new), device=slot.device)
    room = len(state["average"])
    if used + len(new) > room:
        larger = min(len(slot), max(2 * room, used + len(new)))
        for name in ("average", "square"):
            grown = large_zeros((larger, *state[name].shape[1:]), slot.device)
            grown[:room] = state[name]
            state[name] = grown


def large_zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """float32 zeros; on a CPU in numpy's memory, for which it asks the system for huge pages.

    A batch's rows lie far apart among hundreds of groups: with small pages finding them takes longer than reading them.
    """
    return torch.from_numpy(np.zeros(shape, np.float32)).to(device)
