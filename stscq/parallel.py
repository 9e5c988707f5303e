"""Several processes that train one model, each on its share of every batch; Accelerate starts and connects them.

Of a batch of B images process r of R has the r-th slice of B / R. What a loss needs of the whole batch is averaged or
gathered here, and so are gradients; so all processes hold the same weights, and those are the weights of one process
with the whole batch, up to rounding. A process that was started by itself gets back what it gives, untouched.

Gradients are averaged once a step, by hand. DistributedDataParallel does it while a module's backward pass runs, which
hides the transfer. But it wants one module whose `forward` gives the loss; ours are functions of a codec's parts,
called several times a step, and their gradients hold other rows of a codebook in each process, which it does not know.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from stscq import ranks
from stscq.errors import ParamsError

if TYPE_CHECKING:
    from accelerate import PartialState

PATIENCE = timedelta(hours=6)
"""How long a process waits for the others: the first one hashes the data set and saves alone."""
Said = TypeVar("Said")


def alone() -> bool:
    return ranks.count() == 1


@cache
def joined() -> "PartialState":
    """Connects this process with the others, at the first call."""
    from accelerate import PartialState  # a second or two, that one process by itself need not wait

    return PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)


def device() -> torch.device:
    """That of this process: the GPU of its number on its machine, or the CPU."""
    return joined().device


def share(B: int) -> slice:
    """Which images of a batch of B are this process's. Raises ParamsError when they cannot be shared evenly."""
    R = ranks.count()
    if B % R:
        raise ParamsError(f"batch: {R} processes cannot share {B} images evenly; change the batch, or the rule's gpu")
    return slice(ranks.rank() * B // R, (ranks.rank() + 1) * B // R)


def averaged(mean: Tensor) -> Tensor:
    """The mean over the whole batch, of each process's own mean over its share; with the gradient of its own.

    For a term f(m) of the loss, m the mean of all m_r, every process computes f(m) and hands f'(m) dm_r on. The mean of
    these, which `average_gradients` takes, is the gradient of f(m): no gradient has to pass between processes.
    """
    if alone():
        return mean
    from accelerate.utils import reduce

    joined()
    everywhere: Tensor = reduce(mean.detach(), "mean")
    return everywhere + (mean - mean.detach())


@torch.no_grad()
def gathered(rows: Tensor) -> Tensor:
    """Rows of all processes in the order of the batch, from each one's own (B / R x ...): B x ..., without gradient."""
    if alone():
        return rows
    from accelerate.utils import gather

    joined()
    every: Tensor = gather(rows)
    return every


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sets each gradient to its mean over the processes; which parameters have one must be the same in all."""
    if alone():
        return
    with_gradient = [p for p in parameters if p.grad is not None]
    dense = [p.grad for p in with_gradient if p.grad is not None and not p.grad.is_sparse]
    for total, gradient in zip(mean_of_all(dense), dense, strict=True):
        gradient.copy_(total)
    for parameter in with_gradient:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = mean_of_sparse(parameter.grad)


def mean_of_all(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The means over the processes of some tensors, sent as one."""
    from accelerate.utils import reduce

    if not tensors:
        return []
    means: Tensor = reduce(torch.cat([tensor.flatten() for tensor in tensors]), "mean")
    parts = means.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def mean_of_sparse(gradient: Tensor) -> Tensor:
    """The same of a sparse tensor: its rows are those that any process has, and no more are sent."""
    from accelerate.utils import gather, pad_across_processes, reduce

    gradient = gradient.coalesce()
    sizes = gradient.shape[: gradient.sparse_dim()]
    own = torch.zeros_like(gradient.indices()[0])
    for place, size in zip(gradient.indices(), sizes, strict=True):
        own = own * size + place
    every = gather(pad_across_processes(own, pad_index=-1)).unique()
    every = every[every >= 0]
    values = gradient.values().new_zeros(len(every), *gradient.values().shape[1:])
    values[torch.searchsorted(every, own)] = gradient.values()
    places = torch.stack(torch.unravel_index(every, sizes))
    return torch.sparse_coo_tensor(
        places, reduce(values, "mean"), gradient.shape, is_coalesced=True, check_invariants=False
    )


def take_from_main(tensors: Iterable[Tensor]) -> None:
    """Sets tensors to what the first process has in them."""
    if alone():
        return
    from accelerate.utils import broadcast

    joined()
    with torch.no_grad():
        broadcast(list(tensors))


def told_by_main(say: Callable[[], Said]) -> Said:
    """What `say` gives in the first process; the others wait for it."""
    if alone():
        return say()
    from accelerate.utils import broadcast_object_list

    joined()
    return broadcast_object_list([say() if ranks.is_main() else None])[0]  # type: ignore[no-any-return]


def wait() -> None:
    """Until all processes are here."""
    if not alone():
        joined().wait_for_everyone()
