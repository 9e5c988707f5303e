"""Figures of a run: name of the file -> what draws it. `reconstructions_BACKBONE` (of the test people) there is
for every backbone, and `portraits_BACKBONE` where the run shows people whose pictures anybody may pass on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from stscq.report.figures import beyond, codebooks, faces, peers, rates, training
from stscq.report.summary import RunSummary

SHEETS, PORTRAITS = "reconstructions_", "portraits_"
FIGURES: dict[str, Callable[[RunSummary], Figure]] = {
    "rate_accuracy": partial(rates.rate, measure="mean_acc"),
    "rate_ids": partial(rates.rate, measure="ids"),
    "rate_peers": peers.rate_peers,
    "utilisation_tokens": codebooks.utilisation_tokens,
    "utilisation_groups": codebooks.utilisation_groups,
    "router_choices": codebooks.router_choices,
    "router_people": codebooks.router_people,
    "served": codebooks.served,
    "selection_agreement": codebooks.selection_agreement,
    "groups_sweep": rates.groups_sweep,
    "seed_spread": rates.seed_spread,
    "training_curves": training.training_curves,
    "allocation": beyond.allocation,
}


def draw(s: RunSummary, name: str, sheet: Path | None = None) -> Figure:
    """SHEET: what stscq.report.sheets wrote, for `reconstructions_BACKBONE`. Raises KeyError for an unknown name."""
    if sheet is not None:
        return faces.reconstructions(s, name.removeprefix(SHEETS), sheet)
    if name.startswith(PORTRAITS):
        backbone = name.removeprefix(PORTRAITS)
        return faces.reconstructions(s, backbone, s.folder / "portraits" / f"{backbone}.npz")
    return FIGURES[name](s)
