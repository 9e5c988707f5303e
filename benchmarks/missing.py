"""What stands between a codec and the uncompressed picture: the tokenizer, or the entries?

python -m benchmarks.missing --bundle models/lfw/maskgit_vqgan/bundle/unequal/seed1 --store data/lfw/faces
    --original data/lfw/evaluation/original/test/seed1 --out benchmarks/results/missing.md

The decoder gets z_e + share (z_q - z_e): with share 1 what the file holds, with share 0 the latents themselves, as if
there were any number of entries. The squared error that is left goes with the square of the share; the decoder is the
codec's, tuned on entries.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.show import show
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.data.tensors import to_uint8
from stscq.evaluation.judging import BATCH, ImageSet, judge_codec, open_image_set
from stscq.quantization.lookup import lookup

SHARES = (0.0, 0.4, 0.6, 0.8, 0.9, 1.0)


@torch.no_grad()
def decoded(codec: Codec, z: Tensor) -> np.ndarray:
    """Pictures of latents z (N x T x d): N x S x S x 3 uint8."""
    return np.concatenate([to_uint8(codec.decoder.decode(part)) for part in z.split(BATCH // 8)])


def accuracy(codec: Codec, faces: ImageSet, z: Tensor) -> tuple[float, float]:
    """Verification in % and IDS, when the decoder gets z (N x T x d)."""
    numbers = [n.to_bytes(4, "big") for n in range(len(z))]
    measured = judge_codec(
        faces, lambda some: decoded(codec, z[[int.from_bytes(n, "big") for n in some]]), numbers
    ).measured
    return measured["mean_acc"], measured["ids"]


@torch.no_grad()
def main(bundle: Path, store: Path, original: Path, judge: str = "dlib", out: Path | None = None) -> None:
    """Prints a table, and writes it to OUT. BUNDLE: of one group, of a tokenizer without a sphere for its latents."""
    faces, codec = open_image_set(store, original, judge), Codec.load(bundle)
    z_e = codec.latents(faces.images, faces.rows)
    z_q = lookup(codec.groups.__getitem__, codec.quantise(faces.images, "nn", faces.rows, z_e))
    left = float(100 * (z_q - z_e).square().sum() / (z_e - z_e.mean(0)).square().sum())
    rows = []
    for share in SHARES:
        right, ids = accuracy(codec, faces, z_e + share * (z_q - z_e))
        rows.append({"share": share, "error of the latents, %": share**2 * left, "accuracy, %": right, "IDS": ids})
    table = pd.DataFrame(rows).to_markdown(index=False, floatfmt=("g", ".1f", ".2f", ".4f"))
    of = f"{codec.bundle.name}: {len(faces.pairs):,} pairs, {len(faces.rows):,} images."
    text = f"# What is missing\n\n{of}\n\n{table}\n"
    show(text, out)


if __name__ == "__main__":
    run(main)
