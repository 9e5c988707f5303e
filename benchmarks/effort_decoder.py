"""Does a decoder that is tuned on what an encoder with effort sends show the person better?

python -m benchmarks.effort_decoder --start models/lfw/maskgit_vqgan/stage3/unequal_64/seed1 --store data/lfw/faces
    --split data/lfw/splits/seed1/index.parquet --strangers data/lfw/sets/utkface_fairness
    --original data/lfw/evaluation/original/utkface_fairness/seed1 --models models/effort_decoder
    --out benchmarks/results/effort_decoder.md

Stage 3 goes on for some steps, once with the nearest entries of every face and once with those that effort 5 finds with
the decoder as it stands then. Both decoders, and the one that they began with, are compared on strangers, who trained
nothing and are in none of LFW's pairs, so the choice is not made on LFW's test.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.show import show
from benchmarks.strangers import beside, measured, open_strangers
from stscq.cli_tools import run
from stscq.codec.effort import RECOGNISER, STEPS, Search, refine
from stscq.codec.quantise import Quantiser
from stscq.data.tensors import to_float, to_uint8
from stscq.device import own_device
from stscq.errors import CheckpointError
from stscq.files import progress_seconds
from stscq.quantization.search import Assignment
from stscq.quantization.trained_codec import TrainedCodec, load_codec, tensors_of
from stscq.recognition.frozen import Frozen, load_frozen
from stscq.training.ahead import draws_of
from stscq.training.faces import training_batches
from stscq.training.loop import Schedule, train_and_save
from stscq.training.losses import ImageLossWeights, image_losses

WEIGHTS = ImageLossWeights(1.0, 0.1, 0.1)
"""Those of stage 3 in params.yaml."""
OTHER_DRAWS = 1000
"""Added to the seed, for other faces and in another order than stage 3 took."""
LR = 2e-4
BATCH = 32


def sent(codec: TrainedCodec, faces: Tensor, frozen: Frozen, effort: int) -> Assignment:
    """What an encoder of some effort sends of faces (B x 3 x S x S), with the decoder as it is. codec: of one group."""
    with torch.no_grad():
        nearest = codec.codebooks.search(codec.tokenizer.encode(faces))
    if not effort:
        return nearest
    quantiser = Quantiser(codec.tokenizer.metric, codec.codebooks.prepared(), None)
    search = Search(codec.tokenizer.encode, codec.tokenizer.decode, codec.codebooks.lookup, frozen, STEPS[effort])
    return refine(faces, nearest, quantiser, search)


def tune(start: Path, store: Path, split: Path, out: Path, frozen: Frozen, effort: int, steps: int, batch: int) -> None:
    """Stage 3 goes on from the codec START with entries of EFFORT. Writes the checkpoint OUT, unless it is there.

    Raises CheckpointError where it is that of other settings.
    """
    device = own_device()
    codec, before = load_codec(start, device)
    seed = before["seed"] + OTHER_DRAWS
    recipe = {**before, "effort": effort, "steps": steps, "batch": batch, "lr": LR, "seed": seed}
    if out.exists():
        if load_codec(out, device)[1] != recipe:
            raise CheckpointError(f"{out}: left by a run with other settings; delete it or name another folder")
        return
    codec.tokenizer.requires_grad_(False)
    parts = codec.tokenizer.decoder_parts()
    for part in parts:
        part.requires_grad_(True)
    draw = draws_of(training_batches(store, split, batch, seed, device), 1)

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        faces = draw(step, part).images
        with torch.no_grad():
            z_q = codec.codebooks.lookup(sent(codec, faces, frozen, effort))
        return image_losses(codec.tokenizer.decode(z_q), faces, frozen, WEIGHTS)

    train_and_save(
        nn.ModuleList(parts),
        loss_of_step,
        Schedule(steps, batch, LR, weight_decay=0.0),
        tensors=lambda: tensors_of(codec),
        recipe=recipe,
        inputs=[store / "images.npy", split, start / "weights.safetensors"],
        out=out,
    )


@torch.no_grad()
def pictures(codec: TrainedCodec, images: np.ndarray, frozen: Frozen, effort: int, label: str) -> np.ndarray:
    """Images (N x S x S x 3 uint8), sent with some effort, as they come back."""
    parts = []
    for i in tqdm(range(0, len(images), BATCH), desc=label, mininterval=progress_seconds()):
        faces = to_float(images[i : i + BATCH], own_device())
        parts.append(to_uint8(codec.tokenizer.decode(codec.codebooks.lookup(sent(codec, faces, frozen, effort)))))
    return np.concatenate(parts)


def main(
    start: Path, store: Path, split: Path, strangers: Path, original: Path, models: Path, out: Path | None = None,
    steps: int = 120, batch: int = 16, people: int = 500, effort: int = 5, judge: str = "dlib",
) -> None:  # fmt: skip
    """Prints a table, and writes it to OUT. MODELS: a folder for the tuned codecs, which are taken up again."""
    frozen, faces = load_frozen(RECOGNISER, own_device()), open_strangers(strangers, original, people, judge=judge)
    codecs = {"as it was": start}
    for name, level in (("nearest entries", 0), (f"entries of effort {effort}", effort)):
        codecs[name] = models / f"effort{level}"
        tune(start, store, split, codecs[name], frozen, level, steps, batch)
    found = {}
    for name, folder in codecs.items():
        codec = load_codec(folder, own_device())[0]
        for level in (0, effort):
            again = pictures(codec, faces.images, frozen, level, f"{name}, {level}")
            found[name, level] = measured(faces, again)
    rows = [
        ({"decoder tuned on": name, "encoder's effort": level}, own, found["nearest entries", level])
        for (name, level), own in found.items()
    ]
    of = f"{'/'.join(start.parts[-4:])}; {people} pictures of strangers; the decoders saw {steps * batch:,} faces more."
    show(f"# A decoder for effort\n\n{of} more: than tuned on nearest entries.\n\n{beside(rows)}\n", out)


if __name__ == "__main__":
    run(main)
