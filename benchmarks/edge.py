"""What does the sender's side take in int8, and what does that cost? Encoder and codebooks in a quarter of the space.

python -m benchmarks.edge --store data/lfw/faces --split data/lfw/splits/seed1/index.parquet
    --original data/lfw/evaluation/original/test/seed1 --out benchmarks/results

The encoder is quantised by onnxruntime (static, int8 weights by channel, activations calibrated on training people):
torch's own quantisation (torch.ao.quantization) is deprecated, and its successor is a package of its own. Codebooks as
stscq.evaluation.int8_codebooks has them. The receiver decodes as always.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import stscq
from benchmarks.differences import differences, told
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.codec.onnx_export import export_onnx, session
from stscq.data.store import open_store
from stscq.device import own_device
from stscq.evaluation.cost import codebooks_mib
from stscq.evaluation.int8 import agreement
from stscq.evaluation.int8_codebooks import from_int8, int8_mib, to_int8
from stscq.evaluation.judging import ImageSet, Judgement, judge_codec, open_image_set
from stscq.files import write_atomically
from stscq.machine import machine

MIB = 2**20
CALIBRATED = 256
"""Faces of training people on which activations are calibrated."""
TIMED = 200
"""Faces that are encoded one by one for the latency."""


class Faces(CalibrationDataReader):
    """Single faces (S x S x 3 uint8) as the encoder's graph takes them."""

    def __init__(self, images: np.ndarray):
        self.left: Iterator[np.ndarray] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.left, None)
        return None if image is None else {"image": as_input(image[None])}


def as_input(images: np.ndarray) -> np.ndarray:
    """N x S x S x 3 uint8 -> N x 3 x S x S float32 in [0, 1]."""
    return images.transpose(0, 3, 1, 2).astype(np.float32) / 255


def quantised_encoder(folder: Path, images: np.ndarray) -> Path:
    """FOLDER/encoder.onnx in int8."""
    prepared, out = folder / "prepared.onnx", folder / "encoder_int8.onnx"
    quant_pre_process(folder / "encoder.onnx", prepared)
    quantize_static(prepared, out, Faces(images), per_channel=True, weight_type=QuantType.QInt8)
    return out


def latents_by(encoder: Path, images: np.ndarray) -> tuple[torch.Tensor, float]:
    """z_e of images (N x T x d), 32 at a time, and milliseconds of CPU for a single one (the median of TIMED)."""
    network = session(encoder)
    parts = [network.run(None, {"image": as_input(images[i : i + 32])})[0] for i in range(0, len(images), 32)]
    seconds = []
    for image in images[:TIMED]:
        given = {"image": as_input(image[None])}
        began = time.process_time()  # of one thread: what other jobs of the machine do does not count
        network.run(None, given)
        seconds.append(time.process_time() - began)
    return torch.from_numpy(np.concatenate(parts)), 1000 * float(np.median(seconds))


def judged(codec: Codec, faces: ImageSet, z_e: torch.Tensor) -> tuple[Any, Judgement]:
    assignment = codec.quantise(faces.images, None, faces.rows, z_e)
    files = codec.payloads(assignment)
    return assignment, judge_codec(faces, lambda some: codec.reconstruct(codec.parse(some)), files)


def main(store: Path, split: Path, original: Path, out: Path, bundle: Path | None = None, judge: str = "dlib") -> None:
    """Writes OUT/edge.json and edge.md: sizes, latency on one thread, agreement, accuracy and IDS of three senders.

    BUNDLE: the shipped one if none is given. ORIGINAL: the evaluation of STORE's uncompressed images by JUDGE; SPLIT
    says who trains.
    """
    torch.set_num_threads(1)
    codec = Codec.load(bundle or Path(stscq.__file__).parent / "model", own_device())
    small = codec.with_codebooks(from_int8(to_int8(codec.all_codebooks)))
    faces = open_image_set(store, original, judge)
    images = np.array(faces.images[faces.rows])
    training = np.flatnonzero(pd.read_parquet(split).split == "train")
    calibration = np.array(open_store(store)[0][np.random.default_rng(0).choice(training, CALIBRATED, replace=False)])
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(codec, Path(folder))
        wide, narrow = Path(folder) / "encoder.onnx", quantised_encoder(Path(folder), calibration)
        encoders = {"float32": (wide, codec), "int8 codebooks": (wide, small), "int8": (narrow, small)}
        rows, first = [], None
        for name, (encoder, sender) in encoders.items():
            z_e, milliseconds = latents_by(encoder, images)
            assignment, judgement = judged(sender, faces, z_e)
            first = first or (assignment, judgement)
            rows.append({
                "sender": name,
                "encoder MiB": encoder.stat().st_size / MIB,
                "codebooks MiB": (int8_mib if sender is small else codebooks_mib)(*codec.all_codebooks.shape),
                "CPU ms an image": milliseconds,
                "indices as in float32, %": 100 * agreement(first[0], assignment).indices_equal,
                "accuracy, %": judgement.measured["mean_acc"],
                "IDS": judgement.measured["ids"],
                **{f"{key}, less float32": told(found) for key, found in differences(judgement, first[1]).items()},
            })  # fmt: skip
    result = {"bundle": codec.bundle.name, "machine": machine(), "images": len(images), "senders": rows}
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "edge.json", json.dumps(result, indent=1) + "\n")
    write_atomically(out / "edge.md", as_text(result))


def as_text(result: dict[str, Any]) -> str:
    of = f"{result['bundle']}, {result['images']} of LFW's faces, {result['machine']['cpu']}, one thread."
    table = pd.DataFrame(result["senders"]).to_markdown(index=False, floatfmt=".4g")
    return f"# Senders in int8\n\n{of}\n\n{table}\n"


if __name__ == "__main__":
    run(main)
