"""Which recogniser is meant: its modules import base.py, so they are named here and not there."""

from pathlib import Path

from stscq.errors import DataError
from stscq.recognition.base import Recogniser


def load_recogniser(name: str) -> Recogniser:
    """`dlib`, or the path of an ArcFace-style .onnx file. Raises DataError when it is neither."""
    # Imported on demand: each pulls in a runtime that the other does not need.
    if name == "dlib":
        from stscq.recognition.dlib_resnet import DlibResNet

        return DlibResNet()
    if Path(name).suffix == ".onnx" and Path(name).is_file():
        from stscq.recognition.onnx_arcface import OnnxArcFace

        return OnnxArcFace(Path(name))
    raise DataError(f"recogniser {name!r} is neither 'dlib' nor an existing .onnx file")
