"""Which trials answer which question of the reviewers. Axes: M groups, K entries."""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from stscq.evaluation.trials.codebooks import Scheme, quantiser_of, selections, train_codec
from stscq.evaluation.trials.library import CHOSEN, Kind, fit_quantiser
from stscq.evaluation.trials.quantiser import Quantiser
from stscq.evaluation.trials.setting import Setting
from stscq.quantization.losses import RouterLossWeights
from stscq.quantization.trained_codec import TrainedCodec

Question = Literal["quantisers", "router_losses", "entries"]
LOSSES = RouterLossWeights._fields
SIZES = (4, 16, 64, 256, 1024)
"""K of the question `entries`."""
OBSERVED = 8
"""How often the choices of router and NN are compared while codebooks train, besides the start."""
SAMPLE = 1024
"""Training faces on which they are compared, the first as they are."""


class Fitted(NamedTuple):
    """A quantiser; further numbers of how it came about; and what was observed while it trained (rows)."""

    quantiser: Quantiser
    numbers: dict[str, Any]
    curve: list[dict[str, float]]


class Trial(NamedTuple):
    """about: what stands in the table; versus: the name of the trial that it is compared with, or None."""

    name: str
    about: dict[str, Any]
    versus: str | None
    fit: Callable[[Setting, Tensor], Fitted]


def trials_of(question: Question, M: int, K: int, faces: int) -> list[Trial]:
    """M, K: of the switchable codebooks; faces: how many train."""
    found = {"quantisers": quantisers, "router_losses": router_losses, "entries": entries}
    return list(found[question](M, K, faces))


def quantisers(M: int, K: int, faces: int) -> Iterator[Trial]:
    """T log2 K bits for all, and log2 M more for those of several groups."""
    method = f"switchable {M}x{K}"
    for kind in CHOSEN:
        yield of_library(kind, K, method)
    for name, groups, shared in (("global", 1, True), ("token_specific", 1, False), ("token_shared", M, True)):
        yield of_scheme(f"{name} {groups}x{K}", Scheme(groups, K, shared), {"quantiser": name}, method)
    yield of_scheme(method, Scheme(M, K, False), {"quantiser": "switchable"}, None)


def router_losses(M: int, K: int, faces: int) -> Iterator[Trial]:
    """All subsets of the three; compared with the paper's, which has them all."""
    for size in range(len(LOSSES) + 1):
        for subset in combinations(LOSSES, size):
            scheme = Scheme(M, K, False, frozenset(subset))
            about = {name: name in subset for name in LOSSES}
            yield of_scheme("+".join(subset) or "none", scheme, about, None if len(subset) == 3 else "+".join(LOSSES))


def entries(M: int, K: int, faces: int) -> Iterator[Trial]:
    """Token-specific codebooks of more and more entries, alone and in M groups: as long as a token has no more of them
    than there are training faces. Those of M groups are compared with one group of as many."""
    for groups in (1, M):
        for size in SIZES:
            if groups * size <= faces:
                alone = f"1x{size}" if groups > 1 else None
                yield of_scheme(f"{groups}x{size}", Scheme(groups, size, False), {}, alone)


def of_library(kind: Kind, K: int, versus: str) -> Trial:
    def fit(setting: Setting, z_e: Tensor) -> Fitted:
        return Fitted(fit_quantiser(setting, CHOSEN[kind], K), {}, [])

    return Trial(kind, {"quantiser": kind, "groups": 1, "entries": K}, versus, fit)


def of_scheme(name: str, scheme: Scheme, about: dict[str, Any], versus: str | None) -> Trial:
    def fit(setting: Setting, z_e: Tensor) -> Fitted:
        curve: list[dict[str, float]] = []
        every = max(1, setting.steps // OBSERVED)

        def observe(step: int, codec: TrainedCodec) -> None:
            if scheme.M > 1 and (step % every == 0 or step == setting.steps):
                curve.append({"step": step, **of_router(codec, setting.faces[:SAMPLE])})

        codec = train_codec(setting, scheme, observe)
        return Fitted(quantiser_of(codec), of_router(codec, z_e) if scheme.M > 1 else {}, curve)

    return Trial(name, {**about, "groups": scheme.M, "entries": scheme.K}, versus, fit)


def of_router(codec: TrainedCodec, z_e: Tensor) -> dict[str, float]:
    """What the router chooses for these images, beside NN.

    agreement: share of images with one choice; regret: by how much the router's error is above NN's, as a share of it;
    router_groups: used by the router; use_bits: entropy of the mean of g (Eq. 8); doubt_bits: mean entropy of g
    (Eq. 9).
    """
    with torch.no_grad():
        found = selections(codec, z_e)
    bits = torch.log(torch.tensor(2.0))
    return {
        "agreement": float((found.by_router == found.by_nn).float().mean()),
        "error_router": float(found.error_router.mean()),
        "error_nn": float(found.error_nn.mean()),
        "regret": float(found.error_router.mean() / found.error_nn.mean() - 1),
        "router_groups": len(found.by_router.unique()),
        "use_bits": float(torch.special.entr(found.g.mean(0)).sum() / bits),
        "doubt_bits": float(torch.special.entr(found.g).sum(1).mean() / bits),
    }
