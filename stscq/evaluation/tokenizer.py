"""What a tokenizer keeps of a face before any codec is made of it: unquantised, and through its one global codebook.

python -m stscq.evaluation.tokenizer --tokenizer models/pretrain/ibq --store data/lfw/faces --file ibq_on_lfw.json
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.data.tensors import to_float, to_uint8
from stscq.device import full_precision, own_device
from stscq.errors import DataError
from stscq.evaluation.judging import batches, by_row, cosine
from stscq.evaluation.quality import psnr
from stscq.evaluation.verification import accuracy, verify
from stscq.files import write_atomically
from stscq.quantization.trained_codec import TrainedCodec, load_codec
from stscq.recognition.base import Recogniser
from stscq.recognition.load import load_recogniser


def main(tokenizer: Path, store: Path, file: Path, judge: str = "dlib") -> None:
    """Writes FILE (JSON): accuracy (%) on the pairs of STORE, IDS and PSNR (dB), each for the three kinds of image.

    TOKENIZER is a folder that pretraining or stage 1 wrote. Raises DataError when the set has no verification pairs.
    """
    images, _ = open_store(store)
    if not (store / "pairs.parquet").is_file():
        raise DataError(f"{store}/pairs.parquet: missing; take a set with pairs (kind lfw, pack or rfw)")
    pairs = pd.read_parquet(store / "pairs.parquet")
    codec, _ = load_codec(tokenizer, own_device())
    recogniser = load_recogniser(judge)
    rows = np.unique(pairs[["a", "b"]])
    originals = embed(recogniser, images, rows, lambda batch: batch)
    measured: dict[str, dict[str, float]] = {"original": {"accuracy": 100 * accuracy(verify(originals, pairs))}}
    for name, latents in (("unquantised", unquantised), ("global", through_codebook)):
        quality: list[float] = []

        def decoded(batch: np.ndarray, latents: Latents = latents, quality: list[float] = quality) -> np.ndarray:
            found = reconstruct(codec, batch, latents)
            quality.extend(psnr(batch, found).tolist())
            return found

        embeddings = embed(recogniser, images, rows, decoded)
        ids = cosine(embeddings[rows], originals[rows])
        measured[name] = {
            "accuracy": 100 * accuracy(verify(embeddings, pairs)),
            "ids": float(ids.mean()),
            "psnr": float(np.mean(quality)),
        }
    summary = {"pairs": len(pairs), "images": len(rows), "judge": judge, "K": codec.codebooks.K, **measured}
    write_atomically(file, json.dumps(summary, indent=2) + "\n")


Latents = Callable[[TrainedCodec, Tensor], Tensor]


def unquantised(codec: TrainedCodec, z_e: Tensor) -> Tensor:
    return codec.codebooks.continuous(z_e)


def through_codebook(codec: TrainedCodec, z_e: Tensor) -> Tensor:
    return codec.codebooks(z_e).z_q


@torch.no_grad()
@full_precision()
def reconstruct(codec: TrainedCodec, images: np.ndarray, latents: Latents) -> np.ndarray:
    """N x S x S x 3 uint8 -> the same, decoded from `latents` of the encoder's output."""
    tokenizer = codec.tokenizer
    return to_uint8(tokenizer.decode(latents(codec, tokenizer.encode(to_float(images, tokenizer.device)))))


def embed(
    recogniser: Recogniser, images: np.ndarray, rows: np.ndarray, decoded: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Embeddings of decoded(images[rows]) by row of the store, size x E; rows that no pair mentions are NaN."""
    parts = [recogniser.embed(decoded(images[rows[part]])) for part in batches(len(rows))]
    return by_row(np.concatenate(parts), rows, len(images))


if __name__ == "__main__":
    run(main)
