"""What does evaluating one image at published size take? `python -m benchmarks.evaluation`

TiTok-S with 128 tokens, 256 x 256 pixels, groups of 1,024 entries: random weights, codebooks of latents, tables of the
range coder fitted on 96 faces. The parts of `stscq.evaluation.evaluate`, as it calls them; milliseconds an image, the
median of rounds in which all parts run by turns (of the three networks: one round). To compare two versions of the
package, run this file with each on PYTHONPATH.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

import stscq
from benchmarks.show import show
from benchmarks.timing import DEVICE, medians
from stscq.backbones import build
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.codec.bitstream.fit_context import TrainingSymbols, fit_context
from stscq.codec.bitstream.symbol_tables import fit
from stscq.codec.bundle.write import write_bundle, write_tables
from stscq.codec.export import entries_of
from stscq.data.orl import orl_folder
from stscq.evaluation.quality import psnr, ssim
from stscq.machine import machine
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.trained_codec import TrainedCodec
from stscq.recognition.load import load_recogniser
from stscq.training.encode import encode_rows
from tests.test_backbones import PUBLISHED

SIZE, ENTRIES, FITTED = 256, 1024, 96
MODEL = {"image_size": SIZE, **PUBLISHED["titok_s128"]}


def enlarged_faces(count: int) -> np.ndarray:
    """The demo's first faces as count x SIZE x SIZE x 3 uint8."""
    faces = [Image.open(path) for path in sorted(orl_folder().rglob("*.pgm"))[:count]]
    return np.stack([np.asarray(face.convert("RGB").resize((SIZE, SIZE))) for face in faces])


def write_random_bundle(folder: Path, faces: np.ndarray, M: int) -> Codec:
    """A bundle whose tables and codebooks fit its untrained encoder: entries are latents with a little noise."""
    torch.manual_seed(0)
    tokenizer = build(**MODEL).requires_grad_(False)
    tokenizer.initialise()
    tokenizer.take_codebook()
    latents = encode_rows(tokenizer, faces, np.arange(len(faces)))
    chosen = torch.randint(len(latents), (M, ENTRIES))
    books = latents[chosen].transpose(1, 2)
    books = books + 0.3 * latents.std() * torch.randn_like(books)
    write_bundle(folder, TrainedCodec(tokenizer, Codebooks(books, tokenizer.metric), None), MODEL, SIZE, folder.name)
    codec = Codec.load(folder)
    group, index = codec.quantise(faces)
    symbols = TrainingSymbols(group.numpy(), index.numpy(), np.arange(len(faces)) // 10)
    tables = fit(*symbols, M, ENTRIES, None).tables
    fitted = fit_context(symbols, lambda i: entries_of(codec, i), M, ENTRIES, None)
    features = [fitted.basis.features(entries_of(codec, i)) for i in range(M)] if fitted.basis else []
    write_tables(folder, tables, fitted.context, features, codec.bundle.description)
    return Codec.load(folder, DEVICE)


def measure(codec: Codec, faces: np.ndarray, repeats: int) -> dict[str, float]:
    """Milliseconds an image of each part."""
    rows = np.arange(len(faces))
    z_e = codec.latents(faces, rows)
    assignment = codec.quantise(faces, "nn", rows, z_e)
    payloads = codec.payloads(assignment)
    files = [codec.file_of(payload) for payload in payloads]
    decoded, judge = codec.decode(files), load_recogniser("dlib")
    networks = {
        "encoder": lambda: codec.latents(faces, rows),
        "decoder": lambda: codec.reconstruct(assignment),
        "judge": lambda: judge.embed(decoded),
    }
    rest = {
        "nearest entries": lambda: codec.quantise(faces, "nn", rows, z_e),
        "writing files": lambda: [codec.file_of(payload) for payload in codec.payloads(assignment)],
        "sizes of payloads": lambda: codec.sizes(assignment, payloads),
        "reading files": lambda: codec.parse([codec.payload_of(file) for file in files]),
        "PSNR and SSIM": lambda: (psnr(faces, decoded), ssim(faces, decoded)),
    }
    seconds = medians(networks, 1) | medians(rest, repeats)
    return {part: 1000 * taken / len(faces) for part, taken in seconds.items()}


def main(images: int = 16, M: int = 4, repeats: int = 7, out: Path | None = None) -> None:
    """Prints a table, and writes it to the file OUT."""
    faces = enlarged_faces(FITTED)
    with tempfile.TemporaryDirectory() as folder:
        codec = write_random_bundle(Path(folder), faces, M)
        found = measure(codec, faces[:images], repeats)
    networks = sum(found[part] for part in ("encoder", "decoder", "judge"))
    table = pd.Series({**found, "all": sum(found.values()), "all but the networks": sum(found.values()) - networks})
    text = table.to_frame("ms an image").to_markdown(floatfmt=".2f")
    print(f"the package is {stscq.__file__}")
    show(f"# Evaluation at published size\n\n{machine()['cpu']}, {images} images.\n\n{text}\n", out)


if __name__ == "__main__":
    run(main)
