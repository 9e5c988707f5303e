"""How a stage's weights move: AdamW, for codebooks a lazy Adam whose cost is that of the entries in use, and where a
transformer is trained from nothing Muon for its matrices, which needs far fewer steps.

A switchable codec has hundreds of groups, of which a batch uses some. Codebooks made with `sparse=True` give gradients
of the entries that were chosen only, and LazyAdam then reads and writes nothing else. For an entry chosen in every
step it is Adam; an entry that is left out for some steps keeps still meanwhile, where Adam would let its momentum run
out, and its averages do not fade.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stscq.device import Precision
from stscq.parallel import average_gradients
from stscq.quantization.codebooks import Codebooks
from stscq.training.lazy_adam import LazyAdam

BETAS = (0.9, 0.99)
MAX_NORM = 1.0


class Optimiser:
    """Of those parameters of `model` that require gradients; gradients are clipped to a norm of 1, all together.

    Those among `matrices` (two dimensions each) move by Muon, its steps scaled to the size of AdamW's.
    fp16 gradients are computed from a scaled loss, so that they do not vanish; the scale finds itself.
    """

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        weight_decay: float,
        precision: Precision,
        matrices: Sequence[nn.Parameter] = (),
    ):
        trained = [p for p in model.parameters() if p.requires_grad]
        books = [module.weight for module in model.modules() if isinstance(module, Codebooks) and module.sparse]
        self.lazy = [p for p in trained if any(p is weight for weight in books)]
        self.matrices = [p for p in trained if any(p is matrix for matrix in matrices)]
        apart = [*self.lazy, *self.matrices]
        self.dense = [p for p in trained if not any(p is other for other in apart)]
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        if self.dense:
            self.optimisers["dense"] = torch.optim.AdamW(self.dense, lr=lr, betas=BETAS, weight_decay=weight_decay)
        if self.matrices:
            self.optimisers["matrices"] = torch.optim.Muon(
                self.matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            )
        if self.lazy:
            self.optimisers["lazy"] = LazyAdam(self.lazy, lr=lr, betas=BETAS)
        self.scaler = torch.amp.GradScaler(trained[0].device.type, enabled=precision == "fp16")

    def set_rate(self, lr: float) -> None:
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = lr

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of one part of a batch."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self) -> None:
        """Move the weights and forget the gradients, which are first averaged over all processes."""
        average_gradients([*self.dense, *self.matrices, *self.lazy])
        for optimiser in self.optimisers.values():
            self.scaler.unscale_(optimiser)
        norm = nn.utils.clip_grad_norm_([*self.dense, *self.matrices, *(with_values(p) for p in self.lazy)], MAX_NORM)
        # The scaler leaves out an optimiser whose own gradients overflowed; but all were clipped by one norm.
        overflowed = self.scaler.is_enabled() and not norm.isfinite()
        for optimiser in self.optimisers.values():
            if not overflowed:
                self.scaler.step(optimiser)
            optimiser.zero_grad(set_to_none=True)
        self.scaler.update()

    def tensors(self) -> dict[str, Tensor]:
        """The state as flat names: which optimiser, number of the parameter, quantity."""
        found = {
            f"{kind}.{number}.{name}": torch.as_tensor(value)
            for kind, optimiser in self.optimisers.items()
            for number, values in optimiser.state_dict()["state"].items()
            for name, value in values.items()
        }
        scale = {f"scaler.0.{name}": torch.tensor(value) for name, value in self.scaler.state_dict().items()}
        return found | scale

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `tensors`."""
        states: dict[str, dict[int, dict[str, Any]]] = {kind: {} for kind in (*self.optimisers, "scaler")}
        for key, tensor in tensors.items():
            kind, number, name = key.split(".")
            # LazyAdam counts its steps in a Python number, AdamW in a tensor of float32.
            plain = kind == "scaler" or (name == "step" and tensor.dtype == torch.int64)
            states[kind].setdefault(int(number), {})[name] = tensor.item() if plain else tensor
        for kind, optimiser in self.optimisers.items():
            optimiser.load_state_dict({**optimiser.state_dict(), "state": states[kind]})
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(states["scaler"][0])


def with_values(parameter: nn.Parameter) -> Tensor:
    """A stand-in whose dense gradient is the values of the parameter's sparse one, in the same memory."""
    stand_in = torch.empty(0, device=parameter.device)
    if parameter.grad is not None:
        parameter.grad = parameter.grad.coalesce()
        values = parameter.grad._values()
        stand_in = torch.empty_like(values)
        stand_in.grad = values
    return stand_in
