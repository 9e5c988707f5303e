"""Evaluate one codec on the test people of one split: bytes, reconstructions, verification, quality, utilisation.

python -m stscq.evaluation.evaluate --codec models/demo/titok_s/stage3/token_specific/seed1 ...
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from stscq.cli_tools import run
from stscq.codec.packing import pack, payload_bits, unpack
from stscq.data.store import open_store
from stscq.device import own_device
from stscq.evaluation.quality import psnr, ssim
from stscq.evaluation.utilisation import utilisation
from stscq.evaluation.verification import accuracy, verify
from stscq.quantization.search import Assignment
from stscq.recognition.base import load_recogniser, unit
from stscq.training.batches import to_float, to_uint8
from stscq.training.checkpoint import write_atomically
from stscq.training.tokenizer_io import Codec, load_codec

BATCH = 50


def main(store: Path, pairs: Path, original: Path, codec: Path, out: Path, judge: str) -> None:
    """Writes OUT/metrics.json, images.parquet (a row an image), pairs.parquet and reconstructions.npy.

    A codec with a router is evaluated with NN and with CR selection, any other with NN. ORIGINAL is the evaluation of
    the uncompressed images of the same pairs.
    """
    images, index = open_store(store)
    test_pairs = pd.read_parquet(pairs)
    rows = np.unique(test_pairs[["a", "b"]])
    trained, _ = load_codec(codec, own_device())
    recogniser = load_recogniser(judge)
    originals = np.load(original / "embeddings.npy", allow_pickle=False)
    centre = np.load(original / "centre.npy", allow_pickle=False)
    metrics: dict[str, Any] = {"images": len(rows), "pixels": images.shape[1] ** 2, "selections": {}}
    per_image, per_pair = [], []
    for selection in ("nn", "cr") if trained.router is not None else ("nn",):
        assignment, payloads = encode(trained, images[rows], selection)
        reconstructions = decode(trained, payloads)
        embeddings = recogniser.embed(reconstructions)
        frame = pd.DataFrame(
            {
                "selection": selection,
                "row": rows,
                "identity": index.identity[rows].to_numpy(),
                "group": assignment.group.numpy(),
                "ids": cosine(originals, embeddings),
                "ids_centred": centred_cosine(originals, embeddings, centre),
                "psnr": psnr(images[rows], reconstructions),
                "ssim": ssim(images[rows], reconstructions),
            }
        )
        judged = verify(by_row(embeddings, rows, len(images)), test_pairs)
        per_image.append(frame)
        per_pair.append(judged.assign(selection=selection))
        metrics["selections"][selection] = {
            "mean_acc": 100 * accuracy(judged),
            **{name: float(frame[name].mean()) for name in ("ids", "ids_centred", "psnr", "ssim")},
            **measured_rate(trained, payloads, metrics["pixels"]),
            **measured_utilisation(trained, assignment),
        }
        if selection == "nn":
            save_array(reconstructions, out / "reconstructions.npy")
    if len(per_image) == 2:
        same = per_image[0].group.to_numpy() == per_image[1].group.to_numpy()
        metrics["nn_cr_agreement"] = float(same.mean())
    pd.concat(per_image).to_parquet(out / "images.parquet")
    pd.concat(per_pair).to_parquet(out / "pairs.parquet")
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")


@torch.no_grad()
def encode(codec: Codec, images: np.ndarray, selection: str) -> tuple[Assignment, list[bytes]]:
    """Images N x S x S x 3 uint8 -> what was chosen, and the fixed-length payload of each image."""
    parts = []
    for i in range(0, len(images), BATCH):
        z_e = codec.tokenizer.encode(to_float(images[i : i + BATCH], codec.tokenizer.device))
        group = codec.router(z_e).argmax(1) if selection == "cr" and codec.router is not None else None
        parts.append(codec.codebooks.search(z_e, group))
    assignment = Assignment(torch.cat([p.group for p in parts]).cpu(), torch.cat([p.index for p in parts]).cpu())
    M, K = codec.codebooks.M, codec.codebooks.K
    chosen = zip(assignment.group.tolist(), assignment.index.numpy(), strict=True)
    return assignment, [pack(group, index, K, M) for group, index in chosen]


@torch.no_grad()
def decode(codec: Codec, payloads: list[bytes]) -> np.ndarray:
    """Payloads -> N x S x S x 3 uint8: only what the bytes say reaches the decoder."""
    device = codec.tokenizer.device
    unpacked = [unpack(p, codec.tokenizer.T, codec.codebooks.K, codec.codebooks.M) for p in payloads]
    group = torch.tensor([group for group, _ in unpacked])
    index = torch.from_numpy(np.stack([index for _, index in unpacked]))
    parts = []
    for i in range(0, len(payloads), BATCH):
        chosen = Assignment(group[i : i + BATCH].to(device), index[i : i + BATCH].to(device))
        z_q = codec.codebooks.lookup(chosen)
        parts.append(to_uint8(codec.tokenizer.decode(z_q)))
    return np.concatenate(parts)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the rows of a and b, N x E, all of length 1."""
    return np.einsum("ne,ne->n", a, b)


def centred_cosine(a: np.ndarray, b: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Cosine of the rows of a and b (N x E) as seen from `centre` (E) instead of from the origin."""
    return cosine(unit(a - centre), unit(b - centre))


def by_row(embeddings: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """Spread the embeddings of some rows over a table of all rows of the store; the others are NaN."""
    table = np.full((size, embeddings.shape[1]), np.nan, dtype=np.float32)
    table[rows] = embeddings
    return table


def measured_rate(codec: Codec, payloads: list[bytes], pixels: int) -> dict[str, float]:
    """Bits of the payload, the bytes really written for them, and bits a pixel."""
    bits = payload_bits(codec.tokenizer.T, codec.codebooks.K, codec.codebooks.M)
    written = float(np.mean([len(p) for p in payloads]))
    return {"bits": bits, "bytes_written": written, "bpp": bits / pixels}


def measured_utilisation(codec: Codec, assignment: Assignment) -> dict[str, Any]:
    used = utilisation(assignment, codec.codebooks.M, codec.codebooks.K)
    return {
        "utilisation_per_token": [round(float(share), 6) for share in used.per_token],
        "utilisation_token_mean": float(used.per_token.mean()),
        "utilisation_all_entries": used.all_entries,
        "utilisation_merged": used.merged,
        "utilisation_bound": used.bound_all_entries,
        "groups_used": used.groups,
    }


def save_array(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=False)


if __name__ == "__main__":
    run(main)
