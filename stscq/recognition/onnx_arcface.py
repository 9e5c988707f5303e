"""Any ArcFace-style ONNX recogniser, through insightface's own loader, which also finds out its input scaling."""

from pathlib import Path

import numpy as np
import onnxruntime
from insightface.model_zoo import get_model
from insightface.model_zoo.arcface_onnx import ArcFaceONNX

from stscq.device import own_device
from stscq.errors import DataError
from stscq.recognition.base import check_images, unit

BATCH = 32
CUDA = "CUDAExecutionProvider"


def providers() -> list[str | tuple[str, dict[str, int]]]:
    """onnxruntime's, fastest first; on a GPU machine the GPU that this job holds, where it would take the first."""
    device = own_device()
    return [
        (name, {"device_id": device.index}) if name == CUDA and device.type == "cuda" else name
        for name in onnxruntime.get_available_providers()
    ]


class OnnxArcFace:
    def __init__(self, path: Path):
        """Raises DataError when insightface does not take the file for a recogniser."""
        try:
            self.model = get_model(str(path), providers=providers())
        except Exception as problem:  # onnxruntime and protobuf raise many unrelated types for a damaged file
            raise DataError(f"{path}: not a readable ONNX model ({problem})") from problem
        if not isinstance(self.model, ArcFaceONNX):
            raise DataError(f"{path}: insightface does not recognise this as an ArcFace model")

    def embed(self, images: np.ndarray) -> np.ndarray:
        check_images(images)
        bgr = [np.ascontiguousarray(image[:, :, ::-1]) for image in images]
        batches = [bgr[i : i + BATCH] for i in range(0, len(bgr), BATCH)]
        return unit(np.concatenate([self.model.get_feat(batch) for batch in batches]))
