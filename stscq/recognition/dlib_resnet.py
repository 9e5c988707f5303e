"""dlib's face recognition ResNet (Davis King, CC0), the demo's judge: 128 numbers from 150 x 150 pixels."""

import cv2
import dlib
import numpy as np

from stscq.data.align import CHIP, model_path
from stscq.recognition.base import check_images, unit

BATCH = 32


class DlibResNet:
    def __init__(self) -> None:
        self.network = dlib.face_recognition_model_v1(model_path("dlib_face_recognition_resnet_model_v1.dat"))

    def embed(self, images: np.ndarray) -> np.ndarray:
        check_images(images)
        chips = [cv2.resize(image, (CHIP, CHIP), interpolation=cv2.INTER_CUBIC) for image in images]
        batches = [chips[i : i + BATCH] for i in range(0, len(chips), BATCH)]
        return unit(np.concatenate([np.asarray(self.network.compute_face_descriptor(batch)) for batch in batches]))
