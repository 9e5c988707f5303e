"""LPIPS and FID need published weights, and FID a package that is not in the base install: can they be had here?"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from stscq.errors import StscqError

WEIGHTS = {"lpips": ("alexnet", "lpips_alex"), "fid": ("fid_inception",)}
"""Metric -> the names of the weights files that it reads."""


class MetricUnavailableError(StscqError):
    """A metric cannot be computed on this installation; the message is fit for a table's footnote."""


def missing(weights: Mapping[str, str]) -> dict[str, str]:
    """Metric (lpips, fid) -> why it cannot be had, one line; metrics that can be had are left out.

    weights: path of each file named in WEIGHTS. Files are only looked for here, they are checked when they are read.
    """
    reasons = {}
    for metric, names in WEIGHTS.items():
        unnamed = [f"metrics.{name}" for name in names if name not in weights]
        if unnamed:
            reasons[metric] = f"params.yaml names no published weights for it ({', '.join(unnamed)})"
            continue
        absent = [weights[name] for name in names if not Path(weights[name]).is_file()]
        if absent:
            reasons[metric] = f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} missing; stscq weights get"
        elif metric == "fid":
            try:
                inception_package()
            except MetricUnavailableError as problem:
                reasons[metric] = str(problem)
    return reasons


def inception_package() -> ModuleType:
    """torch-fidelity's module of the FID's Inception. Raises MetricUnavailableError when it cannot be imported."""
    try:
        return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
    # It imports torchvision, and a torchvision that does not belong to this torch raises nearly anything.
    except Exception as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise MetricUnavailableError(
            # With torch named, pip takes the torchvision that belongs to it instead of a newer torch.
            f"torch-fidelity cannot be imported ({reason}); pip install torch-fidelity torch=={torch.__version__}"
        ) from problem


def check_pairs(originals: np.ndarray, reconstructions: np.ndarray) -> None:
    """Raises ValueError unless both are N x S x S x 3 uint8: a wrong scale would give a plausible, wrong number."""
    for images in (originals, reconstructions):
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or images.shape != originals.shape:
            raise ValueError(
                f"expected pairs of N x S x S x 3 uint8, got {originals.dtype} {originals.shape} and "
                f"{reconstructions.dtype} {reconstructions.shape}"
            )
