"""Every measured number of a run's evaluations, a row each: for stscq.report.summarise."""

import json
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any, Literal

from stscq.report.collect import Evaluations, Run
from stscq.report.summary import OWN_SET


def all_values(e: Evaluations) -> Iterator[dict[str, Any]]:
    """A row a number, of every run and of the uncompressed images."""
    for image_set, seed in product(e.sets if e.runs() else (), e.seeds):
        for run in e.runs():
            whole = e.everything(run, seed, image_set)
            found = whole["selections"][run.selection]
            if run.selection == "router":
                found |= {"nn_router_agreement": whole["nn_router_agreement"]}
            else:
                found |= {f"batch_{name}": value for name, value in whole["batch_1_and_64"].items()}
            yield from number_rows(run, seed, image_set, found)
        if "protocols" in found:  # otherwise pictures that are no faces
            yield from original_rows(e, seed, image_set)


def original_rows(e: Evaluations, seed: int, image_set: str) -> Iterator[dict[str, Any]]:
    original = e.original(seed, image_set)
    yield from number_rows(Run("none", "original", ""), seed, image_set, original)
    yield from number_rows(Run("none", "mean_face", ""), seed, image_set, original["mean_face"])


def second_values(e: Evaluations) -> Iterator[dict[str, Any]]:
    """`all_values` of the second judge."""
    for image_set, seed in product(e.sets, e.seeds):
        yield from original_rows(e, seed, image_set)
        for run in nn_runs(e):
            yield from number_rows(run, seed, image_set, e.metrics(run, seed, image_set))


def nn_runs(e: Evaluations) -> list[Run]:
    """The second judge judges no other selection."""
    return [run for run in e.runs() if run.selection == "nn"]


def full_size_values(folder: Path | None) -> Iterator[dict[str, Any]]:
    """The same of the uncompressed images at full size, where they were evaluated."""
    if folder is not None:
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        for seed, found in metrics["seeds"].items():
            yield from number_rows(Run("none", "original_full_size", ""), int(seed), OWN_SET, found)


def number_rows(run: Run, seed: int, image_set: str, measures: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """protocol: empty for the measures of a whole set."""
    for protocol, part in {"": measures, **measures.get("protocols", {})}.items():
        where = {**run._asdict(), "set": image_set, "protocol": protocol, "seed": seed}
        for measure, value in part.items():
            if isinstance(value, int | float):
                yield {**where, "measure": measure, "value": float(value)}


def utilisation_by(e: Evaluations, unit: Literal["token", "group"]) -> list[dict[str, Any]]:
    """A row a token (or codebook group): its share of used entries, in [0, 1], on every set and seed."""
    rows = []
    for run, image_set, seed in product(e.runs(), e.sets, e.seeds):
        where = {**run._asdict(), "set": image_set, "seed": seed}
        shares = e.metrics(run, seed, image_set)[f"utilisation_per_{unit}"]
        rows += [{**where, unit: number, "share": share} for number, share in enumerate(shares)]
    return rows
