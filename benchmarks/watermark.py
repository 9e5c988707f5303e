"""Is the mark found again, and what does it cost? `python -m benchmarks.watermark --lfw-home datasets/lfw_home --out
benchmarks/results`

Faces that the shipped model decompressed, with its mark and without: the Database of Faces (grey) and, where it is at
hand, Labeled Faces in the Wild (colour). What is done to a picture is done by Pillow or OpenCV.
"""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from benchmarks.backbones import machine
from benchmarks.timing import load_average, medians
from stscq.checkpoint import write_atomically
from stscq.cli_tools import run
from stscq.codec.api import BATCH, Codec
from stscq.codec.bundle.find import SHIPPED
from stscq.codec.watermark.detect import FALSE, detect, readings
from stscq.codec.watermark.embed import VERSION, mark
from stscq.codec.watermark.golay import encode, message_of
from stscq.codec.watermark.tiles import FRAME, LUMA
from stscq.data.lfw import list_lfw, read_pairs
from stscq.data.orl import orl_folder, read_orl
from stscq.data.pairs import make_pairs
from stscq.evaluation.quality import psnr
from stscq.evaluation.verification import accuracy, verify
from stscq.recognition.load import load_recogniser

FOLDS = 10
ATTACKED = 100
"""Pictures of a set, at most, that each condition is tried on, evenly spaced in the set."""
CODED = 1600
"""Pictures of a set, at most, that are compressed, decompressed and marked."""
ABOUT = f"""Found: the share of marked pictures in which the very message was found, with a chance of a false detection
of at most {FALSE:g} a picture, and in brackets the decimal logarithm of that chance, median. The half and double
pictures are detected as they are. Cropped: to 58 x 58 of 64 x 64 pixels anywhere (a tenth of each side is gone), or a
tenth at each of the four edges (51 x 51); enlarged: back to 64 x 64."""


class Faces(NamedTuple):
    """faces: N x S x S x 3 before compression; pairs: of them, a, b, same, fold."""

    faces: np.ndarray
    pairs: pd.DataFrame


class Marked(NamedTuple):
    """Decompressed, without the mark and with it: N x S x S x 3 each."""

    plain: np.ndarray
    marked: np.ndarray


def orl(people: int) -> Faces:
    """The first people of the Database of Faces, 10 pictures each."""
    found = list(read_orl(orl_folder(), FRAME))[: 10 * people]
    index = pd.DataFrame([face.row._asdict() for face in found])
    folds = min(FOLDS, people // 2)
    return Faces(np.stack([face.image for face in found]), make_pairs(index, folds=folds, seed=1))


def lfw(home: Path, pictures: int) -> Faces:
    """The first so many pictures that the official pairs name, and the pairs of these."""
    listed = list_lfw(home)
    pairs = read_pairs(home, listed)
    rows = pd.unique(pairs[["a", "b"]].to_numpy().ravel())[:pictures]
    faces = np.stack([listed[row].image(FRAME) for row in tqdm(rows, "LFW")])
    return Faces(faces, renumbered(pairs, rows))


def renumbered(pairs: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """The pairs of these rows alone, which are 0, 1, 2, ... now."""
    number = {row: i for i, row in enumerate(rows.tolist())}
    kept = pairs[pairs.a.isin(number) & pairs.b.isin(number)].reset_index(drop=True)
    return kept.assign(a=kept.a.map(number), b=kept.b.map(number))


def decompressed(codec: Codec, faces: np.ndarray) -> Marked:
    plain = codec.decode(codec.encode(faces))
    return Marked(plain, np.stack([mark(picture, codec.bundle.fingerprint) for picture in plain]))


def saved(picture: np.ndarray, kind: str, **settings: Any) -> np.ndarray:
    """Written by Pillow and read again."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **settings)
    return np.asarray(Image.open(file).convert("RGB"))


def by_opencv(picture: np.ndarray, quality: int) -> np.ndarray:
    """The same by another program."""
    _, file = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1])


def sized(picture: np.ndarray, side: int, filter_: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), filter_))


def cropped(picture: np.ndarray, side: int, at: tuple[int, int]) -> np.ndarray:
    """side x side of it; at: any two numbers, from which the corner follows."""
    top, left = (number % (len(picture) - side + 1) for number in at)
    return np.ascontiguousarray(picture[top : top + side, left : left + side])


def at_edges(picture: np.ndarray) -> np.ndarray:
    """Without a tenth at each edge."""
    return cropped(picture, 51, (6, 6))


Attack = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
ATTACKS: dict[str, Attack] = {
    "PNG": lambda p, at: saved(p, "PNG"),
    "JPEG 90": lambda p, at: saved(p, "JPEG", quality=90),
    "JPEG 75": lambda p, at: saved(p, "JPEG", quality=75),
    "JPEG 50": lambda p, at: saved(p, "JPEG", quality=50),
    "JPEG 30": lambda p, at: saved(p, "JPEG", quality=30),
    "JPEG 75 by OpenCV": lambda p, at: by_opencv(p, 75),
    "WebP 80": lambda p, at: saved(p, "WEBP", quality=80),
    "AVIF 75": lambda p, at: saved(p, "AVIF", quality=75),
    "half the size, bicubic": lambda p, at: sized(p, 32),
    "half the size, Lanczos": lambda p, at: sized(p, 32, Image.Resampling.LANCZOS),
    "half the size, then JPEG 75": lambda p, at: saved(sized(p, 32), "JPEG", quality=75),
    "double the size, bicubic": lambda p, at: sized(p, 128),
    "double the size, then JPEG 75": lambda p, at: saved(sized(p, 128), "JPEG", quality=75),
    "double the size, moved by half a pixel": lambda p, at: moved(sized(p, 128)),
    "a tenth cropped": lambda p, at: cropped(p, 58, at),
    "a tenth cropped, then JPEG 75": lambda p, at: saved(cropped(p, 58, at), "JPEG", quality=75),
    "a tenth cropped, enlarged": lambda p, at: sized(cropped(p, 58, at), 64),
    "a tenth cropped at each edge": lambda p, at: at_edges(p),
    "10 % brighter": lambda p, at: np.clip(p * 1.1, 0, 255).astype(np.uint8),
    "20 % darker": lambda p, at: (p * 0.8).astype(np.uint8),
    "as grey": lambda p, at: np.rint(p @ LUMA)[..., None].repeat(3, 2).astype(np.uint8),
    "noise of 5 levels": lambda p, at: noisy(p, at),
    "blurred by a pixel": lambda p, at: cv2.GaussianBlur(p, (0, 0), 1),
    "mirrored": lambda p, at: np.ascontiguousarray(p[:, ::-1]),
    "turned by 2 degrees": lambda p, at: np.asarray(Image.fromarray(p).rotate(2, Image.Resampling.BICUBIC)),
}
"""What is done to a picture; `at` is two numbers of its own."""


def moved(picture: np.ndarray) -> np.ndarray:
    """Down and right by half a pixel, interpolated once more: a harder case of what libvips does when it enlarges."""
    by = np.array([[1, 0, 0.5], [0, 1, 0.5]])
    return cv2.warpAffine(picture, by, picture.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def noisy(picture: np.ndarray, at: tuple[int, int]) -> np.ndarray:
    noise = np.random.default_rng(at).normal(0, 5, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def found_after(attack: Attack, pictures: np.ndarray, fingerprint: bytes) -> str:
    """The cell of the table: share found in %, and the median of the decimal logarithms of the chances."""
    message = message_of(fingerprint, VERSION)
    random = np.random.default_rng(0)
    places = [(int(a), int(b)) for a, b in random.integers(0, 2**31, (len(pictures), 2))]
    readings_ = [detect(attack(picture, at)) for picture, at in zip(pictures, places, strict=True)]
    share = np.mean([one.found and one.message == message for one in readings_])
    return f"{100 * share:.2f} ({np.median([one.log_chance for one in readings_]) / np.log(10):.0f})"


def row_of(condition: str, attacked: Mapping[str, np.ndarray], fingerprint: bytes) -> dict[str, Any]:
    """A row of the table of conditions, with a column for each set."""
    cells = {f"{name}, {len(some)}": some for name, some in attacked.items()}
    return {"condition": condition} | {
        title: found_after(ATTACKS[condition], some, fingerprint) for title, some in cells.items()
    }


def unmarked(sets: Mapping[str, Faces], made: Mapping[str, Marked], fingerprint: bytes) -> list[dict[str, Any]]:
    """The table of false detections: of each set the faces before compression, and decompressed ones."""
    pictures = {f"{name}, as they were": one.faces for name, one in sets.items()}
    pictures |= {f"{name}, decompressed": one.plain for name, one in made.items()}
    return [false_detections(name, images, fingerprint) for name, images in pictures.items()]


def false_detections(name: str, pictures: np.ndarray, fingerprint: bytes) -> dict[str, Any]:
    """Of pictures without a mark. agreement: of the whole picture's phases with the shipped model's message, in
    standard deviations of even phases, which have a mean of 0 and a spread of 1."""
    chances, agreement = [], []
    for picture in tqdm(pictures, name):
        chances.append(detect(picture).log_chance / np.log(10))
        read = readings(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), FRAME, FRAME)
        agreement.append(float(read.soft[0] @ encode(message_of(fingerprint, VERSION))) / np.sqrt(read.counts[0] / 2))
    return {
        "pictures without a mark": name,
        "number": len(pictures),
        "found": int(np.sum(np.array(chances) <= np.log10(FALSE))),
        "smallest chance": f"{10 ** min(chances):.2g}",
        "agreement, mean": round(float(np.mean(agreement)), 3),
        "agreement, spread": round(float(np.std(agreement)), 3),
        "agreement, most": round(max(agreement), 2),
    }


def judged(name: str, faces: Faces, pictures: Marked) -> dict[str, Any]:
    """Accuracy and IDS of the judge (dlib) without the mark and with it, and PSNR between the two."""
    judge, pairs = load_recogniser("dlib"), renumbered(faces.pairs, np.arange(len(pictures.plain)))
    originals, plain, marked = (judge.embed(some) for some in (faces.faces[: len(pictures.plain)], *pictures))
    without, with_ = (verify(embeddings, pairs) for embeddings in (plain, marked))
    likeness = [np.einsum("ne,ne->n", originals, embeddings) for embeddings in (plain, marked)]
    difference = likeness[1] - likeness[0]
    decibels = psnr(pictures.plain, pictures.marked)
    return {
        "set": name,
        "pictures": len(decibels),
        "PSNR, mean": round(float(decibels.mean()), 2),
        "PSNR, least": round(float(decibels.min()), 2),
        "pairs": len(pairs),
        "accuracy without": round(100 * accuracy(without), 2),
        "accuracy with": round(100 * accuracy(with_), 2),
        "pairs that became wrong": int((without.correct & ~with_.correct).sum()),
        "pairs that became right": int((~without.correct & with_.correct).sum()),
        "IDS without": round(float(likeness[0].mean()), 4),
        "IDS with": round(float(likeness[1].mean()), 4),
        "IDS, change": f"{difference.mean():+.4f} +- {1.96 * difference.std() / np.sqrt(len(difference)):.4f}",
    }


def speed(codec: Codec, faces: np.ndarray, repeats: int) -> dict[str, Any]:
    """Milliseconds a picture, of a batch, on one thread."""
    batch = faces[:BATCH]
    assignment = codec.quantise(batch)
    plain = codec.reconstruct(assignment)
    calls: dict[str, Callable[[], object]] = {
        "decode": lambda: codec.reconstruct(assignment),
        "mark": lambda: [mark(picture, codec.bundle.fingerprint) for picture in plain],
        "detect, no mark": lambda: [detect(picture) for picture in plain[:4]],
    }
    taken = medians(calls, repeats)
    numbers = {"decode": len(batch), "mark": len(batch), "detect, no mark": len(plain[:4])}
    each = {f"{name}, ms": round(1e3 * taken[name] / numbers[name], 3) for name in calls}
    return {**each, "mark / decode": round(taken["mark"] / taken["decode"], 3)}


def spaced(pictures: np.ndarray, most: int) -> np.ndarray:
    """At most so many, evenly spaced."""
    return pictures[:: -(-len(pictures) // most)]


def report(tables: Mapping[str, Iterable[Mapping[str, Any]]], facts: Mapping[str, Any], out: Path | None) -> None:
    """Print the tables; write OUT/watermark.md and .json."""
    parts = [f"## {title}\n\n{pd.DataFrame(rows).to_markdown(index=False)}" for title, rows in tables.items()]
    head = ", ".join(f"{key}: {value}" for key, value in facts.items())
    text = "\n\n".join(["# The mark", head, *parts, " ".join(ABOUT.split())]) + "\n"
    print(text)
    if out is not None:
        write_atomically(out / "watermark.md", text)
        write_atomically(out / "watermark.json", json.dumps({"machine": facts, "tables": tables}, indent=2) + "\n")


def main(
    lfw_home: Path | None = None, pictures: int = 10_000, repeats: int = 9, out: Path | None = None, tiny: bool = False
) -> None:
    """Prints the tables; writes OUT/watermark.md and .json. LFW_HOME: where `stscq fetch lfw` left it; PICTURES of it
    are taken, the first of which are compressed. --tiny: only that it runs."""
    torch.set_num_threads(1)
    codec = Codec.load(SHIPPED)
    fingerprint = codec.bundle.fingerprint
    sets = {"Database of Faces": orl(4 if tiny else 40)}
    if lfw_home is not None:
        sets["LFW"] = lfw(lfw_home, pictures)
    made = {name: decompressed(codec, one.faces[:CODED]) for name, one in sets.items()}
    attacked = {name: spaced(one.marked, 4 if tiny else ATTACKED) for name, one in made.items()}
    tables: dict[str, list[dict[str, Any]]] = {}
    facts = {**machine("cpu"), "model": fingerprint.hex()[:8], "load": load_average()}
    for title, rows in (
        ("Found", lambda: [row_of(condition, attacked, fingerprint) for condition in tqdm(ATTACKS, "conditions")]),
        ("Time", lambda: [speed(codec, sets["Database of Faces"].faces, repeats)]),
        ("False detections", lambda: unmarked(sets, made, fingerprint)),
        ("Pictures and people", lambda: [judged(name, one, made[name]) for name, one in sets.items()]),
    ):
        tables[title] = rows()
        report(tables, facts, out)  # what there is, for all of it takes long


if __name__ == "__main__":
    run(main)
