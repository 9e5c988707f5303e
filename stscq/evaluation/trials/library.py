"""Quantisers that others use, of the library vector-quantize-pytorch, on the same latents.

None of them has a codebook of its own for each token. Residual and product quantisers move their codebooks by running
means, as the library has it; finite-scalar and lookup-free ones have none to learn: linear maps into and out of their
few dimensions are trained by the squared error. The settings were chosen by stscq.evaluation.trials.choose.
Axes: N images, T tokens, K symbols a token, which are the product of several parts' sizes; d channels.
"""

import importlib
from collections.abc import Callable, Sequence
from math import prod
from types import ModuleType
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stscq.bits import bits_of
from stscq.errors import StscqError
from stscq.evaluation.trials.quantiser import Quantiser
from stscq.evaluation.trials.setting import Setting, fit_module
from stscq.quantization.search import Assignment, normalise, on_surface
from stscq.training.loop import Schedule

PACKAGE = "vector_quantize_pytorch"
Kind = Literal["residual_vq", "product_vq", "fsq", "lfq"]


class Choice(NamedTuple):
    """sizes: of the parts in which a token's K symbols fall, as a function of K. lr: of the linear maps; 0 where
    codebooks move by running means. options: further ones, of the library's class."""

    kind: Kind
    sizes: Callable[[int], list[int]]
    lr: float = 0.0
    options: tuple[tuple[str, Any], ...] = ()


def halves(K: int) -> list[int]:
    """Two parts of sqrt(K). Raises StscqError where K is no power of 4."""
    bits = bits_of(K, "trials.entries")
    if bits % 2:
        raise StscqError(f"trials.entries = {K}: {bits} bits do not divide into two equal parts; take a power of 4")
    return [2 ** (bits // 2)] * 2


def fours(K: int) -> list[int]:
    """As many parts of 4 as it takes. Raises StscqError where K is no power of 4."""
    return [4] * bits_of(halves(K)[0], "trials.entries")


CHOSEN: dict[Kind, Choice] = {
    "residual_vq": Choice("residual_vq", halves),
    "product_vq": Choice("product_vq", halves),
    "fsq": Choice("fsq", fours, lr=0.01),
    "lfq": Choice("lfq", fours, lr=0.01, options=(("entropy_loss_weight", 0.0), ("spherical", True))),
}


def library() -> ModuleType:
    """Raises StscqError when it is not installed."""
    try:
        return importlib.import_module(PACKAGE)
    except ImportError as problem:
        raise StscqError(
            f"{PACKAGE} cannot be imported ({problem}); pip install vector-quantize-pytorch, or set trials.backbones "
            "to [] in params.yaml"
        ) from problem


def joined(parts: Tensor, sizes: Sequence[int]) -> Tensor:
    """Numbers of parts (... x P) to one number below the product of their sizes (...), the first part lowest."""
    number = torch.zeros_like(parts[..., 0])
    for part, size in zip(reversed(parts.unbind(-1)), reversed(sizes), strict=True):
        number = number * size + part
    return number


def parted(number: Tensor, sizes: Sequence[int]) -> Tensor:
    """The inverse of `joined`."""
    parts = []
    for size in sizes:
        parts.append(number % size)
        number = number // size
    return torch.stack(parts, -1)


class Adapter(NamedTuple):
    """symbols: z (N x T x d) to symbols (N x T); entries: symbols to vectors (N x T x d)."""

    module: nn.Module
    symbols: Callable[[Tensor], Tensor]
    entries: Callable[[Tensor], Tensor]


def adapter(choice: Choice, K: int, d: int) -> Adapter:
    """The library's quantiser, untrained."""
    build = {"residual_vq": residual, "product_vq": product, "fsq": finite_scalar, "lfq": lookup_free}
    return build[choice.kind](choice.sizes(K), d, dict(choice.options))


def residual(sizes: list[int], d: int, options: dict[str, Any]) -> Adapter:
    """Each part quantises what the parts before it left over."""
    module = library().ResidualVQ(dim=d, num_quantizers=len(sizes), codebook_size=sizes[0], kmeans_init=True, **options)
    return Adapter(
        module, lambda z: joined(module(z)[1], sizes), lambda i: module.get_output_from_indices(parted(i, sizes))
    )


def product(sizes: list[int], d: int, options: dict[str, Any]) -> Adapter:
    """Each part quantises d / parts channels."""
    module = library().GroupedResidualVQ(
        dim=d, groups=len(sizes), num_quantizers=1, codebook_size=sizes[0], kmeans_init=True, **options
    )
    return Adapter(
        module,
        lambda z: joined(module(z)[1][..., 0].movedim(0, -1), sizes),  # of parts x N x T x 1
        lambda i: module.get_output_from_indices(parted(i, sizes).movedim(-1, 0)[..., None]),
    )


def finite_scalar(sizes: list[int], d: int, options: dict[str, Any]) -> Adapter:
    """Each part is a dimension that is rounded to its levels."""
    module = library().FSQ(levels=sizes, dim=d, **options)
    return Adapter(module, lambda z: module(z)[1].long(), module.indices_to_codes)


def lookup_free(sizes: list[int], d: int, options: dict[str, Any]) -> Adapter:
    """log2 K dimensions, of which the sign counts."""
    module = library().LFQ(dim=d, codebook_size=prod(sizes), **options)
    return Adapter(module, lambda z: module(z)[1].long(), module.indices_to_codes)


def fit_quantiser(setting: Setting, choice: Choice, K: int) -> Quantiser:
    """As many steps as stages 1 and 2 take, on the same batches."""
    torch.manual_seed(setting.seed)
    metric, draw = setting.tokenizer.metric, setting.draw_both()
    found = adapter(choice, K, setting.tokenizer.d)
    if choice.lr:
        fit_maps(found.module, lambda step: on_surface(draw(step), metric), setting, choice.lr)
    else:
        with torch.no_grad():
            for step in range(setting.steps):
                found.module(on_surface(draw(step), metric))
    found.module.eval()

    def assign(z_e: Tensor) -> Assignment:
        return Assignment(torch.zeros(len(z_e), dtype=torch.int64), found.symbols(on_surface(z_e, metric)))

    def vectors(symbols: Assignment) -> Tensor:
        with torch.no_grad():
            return normalise(found.entries(symbols.index), metric)

    return Quantiser(1, K, numbers_of(found.module), assign, vectors)


def fit_maps(module: nn.Module, draw: Callable[[int], Tensor], setting: Setting, lr: float) -> None:
    """Squared error and the quantiser's own loss, if it has one."""

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        z = draw(step)
        found = module(z)
        own = found[2] if len(found) > 2 else z.new_zeros(())
        return {"loss": F.mse_loss(found[0], z) + own}

    fit_module(module, loss_of_step, Schedule(setting.steps, setting.stage2["batch"], lr, 0.0))


def numbers_of(module: nn.Module) -> int:
    """Entries of codebooks and numbers of linear maps; not the running means that only training needs."""
    entries = [buffer for name, buffer in module.named_buffers() if name.endswith(".embed")]
    return sum(prod(tensor.shape) for tensor in (*entries, *module.parameters()))
