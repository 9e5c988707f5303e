"""A pretrained tokenizer as the package ships it: fp16 weights under the public models' names, and a card.

python -m stscq.training.ship --tokenizer models/pretrain/ibq --measured lfw.json --store data/pretrain/sets/utkface ...
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stscq.checkpoint import load_checkpoint, save_tensors
from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.files import read_log, sha256_of_file, write_atomically
from stscq.quantization.trained_codec import TrainedCodec, load_codec
from stscq.training.pretrain import images_seen

COMPARED = 64
"""Faces on which fp16 weights are held against the trained ones."""

POINTS = 8
"""Of each part of the learning curve, on the card; STEM.json has all."""

LIMITS = """\
- For aligned faces of {size} x {size} pixels; other pictures come back as something like a face.
- UTKFace's pictures were gathered from the web: their ages, genders and races are as uneven as there, and people unlike
  them are reproduced worse.
- For research only, as {data}. No picture can be had from these weights but by giving them one; faces decoded from
  indices that nobody encoded are nobody's.
"""


def main(tokenizer: Path, measured: Path, store: Path, leave_out: Path, stem: Path, before: Path | None = None) -> None:
    """Writes STEM.safetensors, STEM.json and STEM.md.

    TOKENIZER is the folder that pretraining wrote, whose record goes into STEM.json, BEFORE that of the pretraining
    from which it went on; MEASURED is what `stscq.evaluation.tokenizer` found; STORE holds the faces that it was
    trained on, LEAVE_OUT names those that it was not.
    """
    folders = [folder for folder in (before, tokenizer) if folder is not None]
    records = [json.loads((folder / "pretrain.run.json").read_text(encoding="utf-8")) for folder in folders]
    codec, recipe = load_codec(tokenizer, torch.device("cpu"))
    images, index = open_store(store)
    left_out = len(json.loads(leave_out.read_text(encoding="utf-8"))["leave_out"])
    faces = np.asarray(images[:COMPARED])
    trained = reconstruct(codec, faces)
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in published(codec).items()}
    round_weights(codec)
    levels = (reconstruct(codec, faces) - trained).abs().mul(255)
    path = stem.with_name(f"{stem.name}.safetensors")
    save_tensors(half, path, {"model": recipe["model"]})
    card = {
        "name": stem.name,
        "model": json.loads(recipe["model"]),
        "recipe": recipe,
        "faces": {"all": len(index), "left_out": left_out, "held_out": recipe["validation"]},
        "images_seen": images_seen(recipe),
        "curves": [learning_curve(folder) for folder in folders],
        "measured": json.loads(measured.read_text(encoding="utf-8")),
        "fp16": {"mean": round(float(levels.mean()), 4), "most": round(float(levels.max()), 2)},
        "parameters": sum(tensor.numel() for tensor in half.values()),
        "bytes": path.stat().st_size,
        "sha256": sha256_of_file(path),
        "lent": lent(records[0]),
        "records": records,
    }
    write_atomically(stem.with_name(f"{stem.name}.json"), json.dumps(card, indent=1) + "\n")
    write_atomically(stem.with_name(f"{stem.name}.md"), card_text(card))


def learning_curve(folder: Path) -> list[dict[str, float]]:
    """Of a pretraining: the lines of its log with PSNR of the validation faces, and how many pictures it had seen."""
    _, recipe = load_checkpoint(folder)
    seen_before = recipe.get("images_before", 0)
    return [
        {"images": seen_before + line["step"] * recipe["batch"], **line}
        for line in read_log(folder / "log.jsonl")
        if "psnr" in line
    ]


def lent(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Of the pretraining whose tensors the one of this record started from: its name, and the pictures it had seen."""
    like = record.get("arguments", {}).get("like")
    if not like:
        return None
    return {"by": Path(like).name, "images_seen": images_seen(load_checkpoint(Path(like))[1])}


def published(codec: TrainedCodec) -> dict[str, Tensor]:
    """The weights under the public models' names: the tokenizer's own, and its global codebook."""
    return {
        **codec.tokenizer.state_dict(),
        "quantize.embedding.weight": codec.codebooks.weight.detach()[0, 0],
    }


@torch.no_grad()
def round_weights(codec: TrainedCodec) -> None:
    """In place: as they are after fp16."""
    for module in (codec.tokenizer, codec.codebooks):
        for parameter in module.parameters():
            parameter.copy_(parameter.half())


@torch.no_grad()
def reconstruct(codec: TrainedCodec, faces: np.ndarray) -> Tensor:
    """N x 3 x S x S in [0, 1], through the unquantised latents, which show the smallest change of a weight."""
    z_e = codec.tokenizer.encode(to_float(faces))
    return codec.tokenizer.decode(codec.codebooks.continuous(z_e)).clamp(0, 1)


def decibels(found: Mapping[str, float], name: str) -> str:
    return f"{found[name]:.2f}" if name in found else ""


def thinned(curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some POINTS of a learning curve, its last one among them."""
    return curve[:: -max(1, len(curve) // POINTS)][::-1]


def refinement(recipe: Mapping[str, Any]) -> str:
    """On the card, of a tokenizer whose last part a recogniser taught."""
    if not recipe.get("identity") and not recipe.get("perceptual"):
        return ""
    return (
        f"For the last {recipe['steps'] * recipe['batch']:,} pictures the recogniser of stscq/recognisers taught as "
        f"well (perceptual term {recipe['perceptual']}, identity term {recipe['identity']}). "
    )


def beginning(card: Mapping[str, Any]) -> str:
    """On the card: what training started from."""
    if card["lent"] is None:
        return "trained from nothing"
    by, seen = card["lent"]["by"], card["lent"]["images_seen"]
    return f"started from those tensors of {by} that fit, after its {seen:,} pictures, and trained"


def card_text(card: dict[str, Any]) -> str:
    model, measured = card["model"], card["measured"]
    rows = [
        f"| {kind} | {found['accuracy']:.2f} % | {found.get('ids', 1.0):.4f} | {decibels(found, 'psnr')} |"
        for kind, found in measured.items()
        if isinstance(found, dict)
    ]
    curve = [
        f"| {line['images'] / 1000:,.0f} | {decibels(line, 'psnr')} | {decibels(line, 'psnr_quantised')} |"
        for part in card["curves"]
        for line in thinned(part)
    ]
    size, faces = model["image_size"], card["faces"]
    trained = faces["all"] - faces["left_out"] - faces["held_out"]
    return "\n".join(
        [
            f"# {card['name']}, {size} x {size} pixels",
            "",
            f"A {model['family']} tokenizer of {card['parameters'] / 1e6:.2f} M parameters with one codebook of "
            f"K = {model['K']} entries, {beginning(card)} on {trained:,} faces of UTKFace ({card['images_seen']:,} "
            f"pictures seen, augmented ones counted anew): of {faces['all']:,}, {faces['left_out']:,} were left out "
            f"because they look like somebody tested, and {faces['held_out']:,} were held out to validate. "
            f"{refinement(card['recipe'])}"
            f"Weights in fp16: {card['bytes'] / 1e6:.1f} MB; reconstructions move by {card['fp16']['mean']} grey "
            f"levels in the mean ({card['fp16']['most']} at most) against the fp32 that were trained.",
            "",
            f"On LFW's {measured['pairs']:,} official pairs, judged by {measured['judge']} at {size} x {size} pixels:",
            "",
            "| kind | accuracy | IDS | PSNR, dB |",
            "|:--|--:|--:|--:|",
            *rows,
            "",
            "PSNR of validation faces over training"
            f"{', before and after the recogniser taught as well' if len(card['curves']) > 1 else ''}:",
            "",
            "| thousand pictures | unquantised | through the codebook |",
            "|--:|--:|--:|",
            *curve,
            "",
            "## Limits",
            "",
            LIMITS.format(size=size, data="UTKFace and VGGFace2 are" if refinement(card["recipe"]) else "UTKFace is"),
        ]
    )


if __name__ == "__main__":
    run(main)
