"""What do 64 pixels lose, and what do 128 or 160 bring with the models at hand, by tiles or the tokenizer itself?

python -m benchmarks.resolution --source datasets/lfw_home --store data/lfw/faces
    --original data/lfw/evaluation/original/test/seed1 --out benchmarks/results

Everything is judged against the picture that the recogniser would see of the photo itself, 150 x 150 pixels of it.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dlib
import numpy as np
import pandas as pd
import torch
from skimage.transform import SimilarityTransform, warp
from tqdm import tqdm

import stscq
from benchmarks.differences import frame, told
from benchmarks.numbers import markdown
from stscq.backbones import Tokenizer
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.data.align import CHIP, PADDING, crop, landmark_model
from stscq.data.folder import read_photo
from stscq.data.lfw import LFWPicture, centred_box, list_lfw
from stscq.data.pixels import resize
from stscq.data.store import open_store
from stscq.data.tensors import to_float, to_uint8
from stscq.device import own_device
from stscq.evaluation.full_size import picture_of
from stscq.evaluation.judging import by_row, cosine, pairs_of, rows_of
from stscq.evaluation.statistics import paired_bootstrap
from stscq.evaluation.verification import accuracies, judge_pairs
from stscq.files import write_atomically
from stscq.machine import machine
from stscq.recognition.load import load_recogniser
from stscq.training.tokenizer_training import start_tokenizer

BATCH = 32
PACKAGE = Path(stscq.__file__).parent
TOKENIZER = PACKAGE / "tokenizers" / "maskgit_vqgan.safetensors"

Chips = dict[int, np.ndarray]
"""Side -> aligned pictures of that side, B x side x side x 3 uint8, of the same B photos."""


class Way(NamedTuple):
    """One row of the table: a name, the bytes of a face (none for what is not coded), and how pictures are made."""

    name: str
    side: int
    bytes: float | None
    pictures: Callable[[Chips, list[LFWPicture]], np.ndarray]


class Global(NamedTuple):
    """The shipped tokenizer with its one codebook, on pictures of any size: a token for 8 x 8 pixels, a byte each."""

    tokenizer: Tokenizer
    entries: torch.Tensor

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        z_e = self.tokenizer.encode(to_float(images))
        index = torch.cdist(z_e, self.entries.expand(len(z_e), -1, -1)).argmin(2)
        return to_uint8(self.tokenizer.decode(self.entries[index]))


def global_at(side: int) -> Global:
    model = json.loads(TOKENIZER.with_suffix(".json").read_text(encoding="utf-8"))["model"]
    nothing = np.zeros((1, side, side, 3), np.uint8)
    tokenizer, entries = start_tokenizer({**model, "image_size": side}, TOKENIZER, nothing, 0, torch.device("cpu"))
    return Global(tokenizer.eval(), entries)


def in_tiles(images: np.ndarray, side: int) -> np.ndarray:
    """B x S x S x 3 -> the B (S / side)^2 squares, row by row of each picture."""
    B, S = images.shape[:2]
    n = S // side
    return images.reshape(B, n, side, n, side, 3).swapaxes(2, 3).reshape(B * n * n, side, side, 3)


def from_tiles(tiles: np.ndarray, S: int) -> np.ndarray:
    """The inverse."""
    side = tiles.shape[1]
    n = S // side
    return tiles.reshape(-1, n, n, side, side, 3).swapaxes(2, 3).reshape(-1, S, S, 3)


def pasted(photo: np.ndarray, face: np.ndarray) -> np.ndarray:
    """A photo of LFW (H x W x 3) with an aligned face (S x S x 3) where it was cut out."""
    landmarks = landmark_model()(photo, centred_box(photo))
    details = dlib.get_face_chip_details(landmarks, CHIP, PADDING)
    to_photo = into_photo(details.rect, details.angle, len(face))
    whole = warp(face.astype(float), to_photo.inverse, output_shape=photo.shape[:2], mode="edge", preserve_range=True)
    inside = warp(np.ones(face.shape[:2]), to_photo.inverse, output_shape=photo.shape[:2], order=0) > 0.5
    return np.where(inside[:, :, None], whole.round(), photo).astype(np.uint8)


def into_photo(rect: Any, angle: float, side: int) -> SimilarityTransform:
    """From pixels of a chip of a side to those of the photo, whose `rect` turned by `angle` about its middle it is."""
    middle = np.array([rect.left() + rect.right(), rect.top() + rect.bottom()]) / 2
    scale = (rect.right() - rect.left()) / (side - 1)
    turned = SimilarityTransform(scale=scale, rotation=angle)
    return SimilarityTransform(
        scale=scale, rotation=angle, translation=middle - turned(np.full((1, 2), (side - 1) / 2))[0]
    )


def pasted_back(codec: Codec) -> Callable[[Chips, list[LFWPicture]], np.ndarray]:
    def pictures(chips: Chips, photos: list[LFWPicture]) -> np.ndarray:
        made = codec.decode(codec.encode(chips[64]))
        whole = [pasted(read_photo(p.home / p.source), face) for p, face in zip(photos, made, strict=True)]
        return np.stack([crop(photo, centred_box(photo), CHIP) for photo in whole])

    return pictures


def ways(codec: Codec, mean_bytes: float, tile_bytes: float) -> Iterator[Way]:
    yield Way("photo", CHIP, None, lambda chips, _: chips[CHIP])
    for side in (160, 128, 64):
        yield Way("photo, smaller", side, None, lambda chips, _, side=side: chips[side])  # type: ignore[misc]
    yield Way("shipped codec", 64, mean_bytes, lambda chips, _: codec.decode(codec.encode(chips[64])))
    yield Way("shipped codec, pasted into the photo", 64, mean_bytes, pasted_back(codec))
    yield Way("shipped codec on 2 x 2 tiles", 128, tile_bytes, lambda chips, _: tiled(codec, chips[128]))
    for side in (64, 128, 160):
        coder = global_at(side)
        yield Way("tokenizer, one codebook", side, (side / 8) ** 2, lambda chips, _, c=coder, s=side: c(chips[s]))  # type: ignore[misc]


def tiled(codec: Codec, images: np.ndarray) -> np.ndarray:
    return from_tiles(codec.decode(codec.encode(in_tiles(images, 64))), images.shape[1])


def main(source: Path, store: Path, original: Path, out: Path, judge: str = "dlib", most: int = 0) -> None:
    """Writes OUT/resolution.json and resolution.md. MOST: pairs to look at, the first ones; 0 is all of ORIGINAL."""
    torch.set_num_threads(1)
    codec = Codec.load(PACKAGE / "model", own_device())
    images, index = open_store(store)
    pairs = pairs_of(original)
    pairs = pairs[pairs.protocol == pairs.protocol.iloc[0]].reset_index(drop=True)
    pairs = pairs.groupby("same").head(most // 2).reset_index(drop=True) if most else pairs
    rows = rows_of(pairs, len(images))
    found = {picture.image_id: picture for picture in list_lfw(source)}
    photos = [picture_of(found, name, source) for name in index.image_id[rows]]
    recogniser = load_recogniser(judge)
    sizes = [len(file) for file in codec.encode(np.array(images[rows[:256]]))]
    tiles = in_tiles(np.stack([photo.image(128) for photo in photos[:64]]), 64)
    tile_bytes = 4 * float(np.mean([len(file) for file in codec.encode(tiles)]))
    everything = list(ways(codec, float(np.mean(sizes)), tile_bytes))
    embeddings: list[list[np.ndarray]] = [[] for _ in everything]
    for i in tqdm(range(0, len(photos), BATCH), desc="photos"):
        batch = photos[i : i + BATCH]
        chips = {side: np.stack([photo.image(side) for photo in batch]) for side in (CHIP, 160, 128, 64)}
        for kept, way in zip(embeddings, everything, strict=True):
            shown = way.pictures(chips, batch)
            kept.append(recogniser.embed(np.stack([resize(one, CHIP, CHIP) for one in shown])))
    joined = [np.concatenate(kept) for kept in embeddings]
    person = pd.Series(index.identity.to_numpy()[rows], index=rows)
    table = rows_of_table(everything, joined, rows, len(images), pairs, person)
    result = {
        "bundle": codec.bundle.name,
        "machine": machine(),
        "pairs": len(pairs),
        "images": len(rows),
        "rows": table,
    }
    write_atomically(out / "resolution.json", json.dumps(result, indent=1) + "\n")
    write_atomically(out / "resolution.md", as_text(result))


def rows_of_table(
    everything: list[Way],
    embeddings: list[np.ndarray],
    rows: np.ndarray,
    N: int,
    pairs: pd.DataFrame,
    person: pd.Series,
) -> list[dict[str, Any]]:
    """Accuracy, IDS to the photo at its own size, and paired differences to the shipped codec."""
    judged = [judge_pairs(by_row(one, rows, N), pairs) for one in embeddings]
    ids = [pd.Series(cosine(embeddings[0], one), index=rows) for one in embeddings]
    base = next(number for number, way in enumerate(everything) if way.name == "shipped codec")
    kind = pairs.same.map({True: "genuine", False: "impostor"})
    table = []
    for way, right, likeness in zip(everything, judged, ids, strict=True):
        more = 100.0 * (right.correct.astype(float) - judged[base].correct.astype(float))
        of_pairs = frame(more, pairs.a.map(person), pairs.b.map(person), kind)
        of_images = frame(likeness - ids[base], person, person, "images")
        same = way.name == "shipped codec"
        table.append({
            "what": way.name,
            "pixels": way.side,
            "bytes": way.bytes,
            "accuracy, %": next(iter(accuracies(right).values())),
            "IDS to the photo": float(likeness.mean()),
            "accuracy, less the shipped codec": "" if same else told(paired_bootstrap(of_pairs)),
            "IDS, less the shipped codec": "" if same else told(paired_bootstrap(of_images)),
        })  # fmt: skip
    return table


def as_text(result: dict[str, Any]) -> str:
    of = f"{result['bundle']}, {result['pairs']} of LFW's pairs, {result['images']} images; {result['machine']['cpu']}."
    return f"# Larger pictures\n\n{of}\n\n{markdown(result['rows'])}\n"


if __name__ == "__main__":
    run(main)
