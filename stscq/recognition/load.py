"""Which recogniser is meant: its modules import base.py, so they are named here and not there."""

import sys
from pathlib import Path

import torch

from stscq.device import own_device
from stscq.errors import DataError
from stscq.recognition.base import Recogniser


def load_recogniser(name: str, device: torch.device | None = None) -> Recogniser:
    """`dlib`, or the path of an ArcFace-style .onnx file; on `device`, by default the one that this job holds.

    Raises DataError when it is neither, or cannot run on a GPU that is there.
    """
    found = of_name(name, own_device() if device is None else device)
    print(f"recogniser {name} on {found.device}", file=sys.stderr)
    return found


def of_name(name: str, device: torch.device) -> Recogniser:
    # Imported on demand: each pulls in a runtime that the other does not need.
    if name == "dlib":
        from stscq.recognition.dlib_resnet import DlibResNet

        return DlibResNet(device)
    if Path(name).suffix == ".onnx" and Path(name).is_file():
        from stscq.recognition.onnx_arcface import load_arcface

        return load_arcface(Path(name), device)
    raise DataError(f"recogniser {name!r} is neither 'dlib' nor an existing .onnx file")
