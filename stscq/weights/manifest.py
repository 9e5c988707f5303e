"""The files of stscq/weights.yaml, and which of them a profile needs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from stscq.errors import StscqError

FOLDER = "weights"  # of the project; every path in the manifest lies in it


class WeightsError(StscqError):
    """A file of weights is missing, wrong or cannot be had."""


@dataclass(frozen=True)
class Hub:
    """A file of a repository on the Hugging Face hub."""

    repo: str
    file: str


@dataclass(frozen=True)
class ModelPack:
    """A file in one of InsightFace's model packs, which are zip archives."""

    pack: str
    file: str


@dataclass(frozen=True)
class Shipped:
    """A file of this package: a small tokenizer that the rule `ship_tokenizer` made."""

    file: str


@dataclass(frozen=True)
class Weight:
    """One file: `path` from the project's root, `source` a plain URL if a string, `size` in bytes, None: not known."""

    path: str
    what: str
    source: Hub | ModelPack | Shipped | str
    size: int | None
    sha256: str | None
    licence: str

    @property
    def name(self) -> str:
        """Its path inside the folder weights/."""
        return str(PurePosixPath(self.path).relative_to(FOLDER))


@cache
def manifest() -> dict[str, Weight]:
    """Path: Weight, in the manifest's order."""
    entries = yaml.safe_load(files("stscq").joinpath("weights.yaml").read_text(encoding="utf-8"))
    return {path: _weight(path, dict(entry)) for path, entry in entries.items()}


def _weight(path: str, entry: dict[str, Any]) -> Weight:
    source: Hub | ModelPack | Shipped | str
    if "hub" in entry:
        source = Hub(**entry.pop("hub"))
    elif "insightface" in entry:
        source = ModelPack(**entry.pop("insightface"))
    elif "shipped" in entry:
        source = Shipped(entry.pop("shipped"))
    else:
        source = entry.pop("url")
    return Weight(path=path, source=source, **entry)


def needed(params: Mapping[str, Any]) -> list[Weight]:
    """The files that merged params name anywhere (recogniser, judge, backbones.X.published_weights, metrics, ...)."""
    named = set(_strings(params))
    return [weight for path, weight in manifest().items() if path in named]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def select(weights: Sequence[Weight], names: Sequence[str]) -> list[Weight]:
    """Those of `weights` that are named (titok_s128, titok_s128.safetensors or the whole path; faceres_deep is two
    files); all without names.

    Raises WeightsError for a name that none of them has.
    """
    if not names:
        return list(weights)
    called = {weight.path: {weight.path, weight.name, Path(weight.path).stem} for weight in weights}
    for name in names:
        if not any(name in keys for keys in called.values()):
            raise WeightsError(f"{name}: no such weights; there are {', '.join(w.name for w in weights) or 'none'}")
    return [weight for weight in weights if called[weight.path] & set(names)]
