"""Any ArcFace-style ONNX recogniser, through insightface's own loader, which also finds out its input scaling.

On the CPU by onnxruntime. On a GPU an IResNet runs in torch, which is there in any case; onnxruntime has a package of
its own for GPUs, and without it takes the CPU in silence: here that is an error.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from insightface.model_zoo import get_model
from insightface.model_zoo.arcface_onnx import ArcFaceONNX

from stscq.device import full_precision
from stscq.errors import DataError
from stscq.recognition.base import Recogniser, check_images, unit
from stscq.recognition.iresnet import INPUT_SIZE
from stscq.recognition.onnx_torch import OnnxIResNet, OtherNetworkError

BATCH = 32
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
ON_CPU = "STSCQ_ONNX_ON_CPU"
"""Set in the environment, onnxruntime takes the CPU where there is a GPU."""


def load_arcface(path: Path, device: torch.device) -> Recogniser:
    """The recogniser in a file, on `device`.

    Raises DataError when the file is no ArcFace model, or when on a GPU neither torch nor onnxruntime can run it.
    """
    if device.type == "cpu":
        return OnnxArcFace(path, [CPU])
    try:
        return TorchArcFace(path, device)
    except OtherNetworkError as problem:
        return OnnxArcFace(path, providers(problem, device))


def providers(problem: OtherNetworkError, device: torch.device) -> list[str | tuple[str, dict[str, int | None]]]:
    """onnxruntime's for the GPU that this job holds. Raises DataError where it has none, unless ON_CPU is set."""
    if os.environ.get(ON_CPU):
        return [CPU]
    if CUDA in onnxruntime.get_available_providers():
        return [(CUDA, {"device_id": device.index, "use_tf32": 0})]
    raise DataError(
        f"{problem}, so torch cannot run it, and this onnxruntime has no CUDA: install onnxruntime-gpu in its "
        f"place, or set {ON_CPU}=1 to have it on the CPU beside the GPU"
    )


class OnnxArcFace:
    def __init__(self, path: Path, providers: list[str | tuple[str, dict[str, int | None]]]):
        """Raises DataError when insightface does not take the file for a recogniser, or a provider does not start."""
        try:
            self.model = get_model(str(path), providers=providers)
        except Exception as problem:  # onnxruntime and protobuf raise many unrelated types for a damaged file
            raise DataError(f"{path}: not a readable ONNX model ({problem})") from problem
        if not isinstance(self.model, ArcFaceONNX):
            raise DataError(f"{path}: insightface does not recognise this as an ArcFace model")
        asked = providers[0] if isinstance(providers[0], str) else providers[0][0]
        runs_on = self.model.session.get_providers()[0]
        if runs_on != asked:
            raise DataError(
                f"{path}: onnxruntime could not start {asked}, for the reason that it gave above, and took {runs_on}: "
                f"mend its installation, or set {ON_CPU}=1 to have it on the CPU beside the GPU"
            )
        first = self.model.input_shape[0]  # a number where the file was exported for so many images and no others
        if isinstance(first, int) and first != 1:
            raise DataError(f"{path}: takes {first} images at a time; export it for any number of them")
        self.batch = 1 if first == 1 else BATCH
        self.device = f"{'GPU' if runs_on == CUDA else 'CPU'}, onnxruntime"

    def embed(self, images: np.ndarray) -> np.ndarray:
        check_images(images)
        bgr = [np.ascontiguousarray(image[:, :, ::-1]) for image in images]
        batches = [bgr[i : i + self.batch] for i in range(0, len(bgr), self.batch)]
        return unit(np.concatenate([self.model.get_feat(batch) for batch in batches]))


class TorchArcFace:
    """An IResNet in ONNX, run by torch: the embeddings of OnnxArcFace, which tests hold it against."""

    def __init__(self, path: Path, device: torch.device):
        """Raises OtherNetworkError when the file is no IResNet, DataError when it is no model."""
        self.network = OnnxIResNet(path).eval().requires_grad_(False).to(device)
        self.on = device
        self.device = f"{device}, torch"

    @torch.no_grad()
    def embed(self, images: np.ndarray) -> np.ndarray:
        check_images(images)
        parts = []
        for i in range(0, len(images), BATCH):
            # As insightface has it; RGB already.
            blob = cv2.dnn.blobFromImages(list(images[i : i + BATCH]), 1 / 127.5, (INPUT_SIZE, INPUT_SIZE), [127.5] * 3)
            with full_precision():
                parts.append(self.network(torch.from_numpy(blob).to(self.on)).cpu().numpy())
        return unit(np.concatenate(parts))
