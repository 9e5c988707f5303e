"""Evaluate one codec on one set of images: bytes, reconstructions, verification, quality, utilisation.

python -m stscq.evaluation.evaluate --bundle models/demo/titok_s/bundle/token_specific/seed1 ...
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.codec.description import Selection
from stscq.codec.packing import payload_bits
from stscq.codec.rounding import batch_differences
from stscq.data.store import open_store
from stscq.device import own_device
from stscq.evaluation.fid import Fid
from stscq.evaluation.lpips import Lpips
from stscq.evaluation.published_metrics import missing
from stscq.evaluation.quality import psnr, ssim
from stscq.evaluation.utilisation import utilisation
from stscq.evaluation.verification import accuracies, judge_pairs, similarity
from stscq.files import progress_seconds, write_atomically
from stscq.quantization.search import Assignment
from stscq.recognition.base import Recogniser, load_recogniser, unit

BATCH = 50
SHOWN = 8
"""Reconstructions kept for the figures: the first image of as many people."""
COUNTED = 64
"""Images on which indices from batches of 1 and of 64 are compared."""


class Judge(NamedTuple):
    """A recogniser, its embeddings of the uncompressed images (N x E), and the centre of the centred IDS (E)."""

    recogniser: Recogniser
    originals: np.ndarray
    centre: np.ndarray


def main(store: Path, bundle: Path, out: Path, judge: str, metrics: str, original: Path | None = None) -> None:
    """Writes OUT/metrics.json, images.parquet (a row an image), pairs.parquet, group_pairs.parquet and sheet.npy (some
    reconstructions).

    BUNDLE: the codec as people get it; every number comes from the files that it writes, decoded again. A codec with a
    router is evaluated with NN and with CR selection, any other with NN. ORIGINAL is the evaluation of
    the uncompressed images, which says which pairs are compared; without it the pictures are no faces, and all images
    of the store are compared by quality alone, FID included. METRICS names the weights files of LPIPS and FID (JSON);
    where they are absent, metrics.json says so.
    """
    images, index = open_store(store)
    test_pairs, inside = pairs_of(original)
    rows = np.arange(len(images)) if original is None else np.unique(test_pairs[["a", "b"]])
    codec = Codec.load(bundle, own_device())
    weights = {name: Path(path) for name, path in json.loads(metrics).items()}
    absent = missing(json.loads(metrics))
    lpips = None if "lpips" in absent else Lpips(weights["alexnet"], weights["lpips_alex"], own_device())
    by = None if original is None else load_judge(judge, original)
    identity = index.identity[rows].reset_index(drop=True)
    shown = identity.drop_duplicates().index[:SHOWN].to_numpy()
    summary: dict[str, Any] = {"images": len(rows), "pixels": images.shape[1] ** 2, "missing": absent, "selections": {}}
    per_image, per_pair, per_group = [], [test_pairs.iloc[:0]], [inside.iloc[:0]]
    for selection in SELECTIONS if codec.router is not None else SELECTIONS[:1]:
        assignment = codec.assign(images, selection, rows)
        compressed = [codec.file_of(payload) for payload in codec.payloads(assignment)]
        fid = Fid(weights["fid_inception"], own_device()) if by is None and "fid" not in absent else None
        frame, embeddings = compare(codec.decode, images, rows, compressed, by, lpips, fid)
        frame = frame.assign(selection=selection, row=rows, identity=identity, group=assignment.group.numpy())
        measured: dict[str, Any] = {name: float(frame[name].mean()) for name in PER_IMAGE if name in frame}
        if by is not None:
            table = by_row(embeddings, rows, len(images))
            judged = judge_pairs(table, test_pairs)
            measured["protocols"] = by_protocol(judged, frame)
            measured["mean_acc"] = measured["protocols"][test_pairs.protocol.iloc[0]]["mean_acc"]
            per_pair.append(judged.assign(selection=selection))
            per_group.append(inside.assign(similarity=similarity(table, inside), selection=selection))
        if fid is not None:
            measured["fid"] = fid.value()
        summary["selections"][selection] = {
            **measured,
            **measured_rate(codec, assignment, summary["pixels"]),
            **measured_utilisation(codec, assignment),
        }
        per_image.append(frame)
        if selection == "nn":
            save_array(codec.decode([compressed[i] for i in shown]), out / "sheet.npy")
            summary["batch_1_and_64"] = batch_differences(codec, images[rows[:COUNTED]], selection)._asdict()
    if len(per_image) == 2:
        same = per_image[0].group.to_numpy() == per_image[1].group.to_numpy()
        summary["nn_cr_agreement"] = float(same.mean())
    pd.concat(per_image).to_parquet(out / "images.parquet")
    pd.concat(per_pair).to_parquet(out / "pairs.parquet")
    pd.concat(per_group).to_parquet(out / "group_pairs.parquet")
    write_atomically(out / "metrics.json", json.dumps(summary, indent=2) + "\n")


def pairs_of(original: Path | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The pairs of all protocols, and those inside groups of people, without what the uncompressed images gave."""
    if original is None:
        return pd.DataFrame(), pd.DataFrame()
    pairs, inside = (pd.read_parquet(original / f"{name}.parquet") for name in ("pairs", "group_pairs"))
    return pairs[["a", "b", "same", "fold", "protocol"]], inside[["a", "b", "same", "group"]]


def by_protocol(judged: pd.DataFrame, frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Accuracy in % of each protocol, and IDS and centred IDS of the images on its pairs. frame: a row an image."""
    found = {}
    for protocol, value in accuracies(judged).items():
        pairs = judged[judged.protocol == protocol]
        chosen = frame[frame.row.isin(np.unique(pairs[["a", "b"]]))]
        found[protocol] = {
            "mean_acc": value,
            "ids": float(chosen.ids.mean()),
            "ids_centred": float(chosen.ids_centred.mean()),
            "pairs": len(pairs),
            "images": len(chosen),
        }
    return found


SELECTIONS: tuple[Selection, ...] = ("nn", "router")
PER_IMAGE = ("ids", "ids_centred", "psnr", "ssim", "lpips")


def load_judge(name: str, original: Path) -> Judge:
    found = (np.load(original / f"{part}.npy", allow_pickle=False) for part in ("embeddings", "centre"))
    return Judge(load_recogniser(name), *found)


def compare(
    decoded: Callable[[Sequence[bytes]], np.ndarray],
    images: np.ndarray,
    rows: np.ndarray,
    payloads: Sequence[bytes],
    judge: Judge | None,
    lpips: Lpips | None,
    fid: Fid | None,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Decode, and compare each image with its original, a batch at a time. Measures (a row an image); N x E embeddings.

    decoded: from a batch of payloads to N x S x S x 3 uint8, of any codec.
    Columns ids and ids_centred only with a judge, lpips only with its weights. `fid` takes all pairs in.
    """
    frames, embeddings = [], [np.zeros((0, 1), np.float32)] if judge is None else []
    for part in batches(len(rows)):
        originals, reconstructions = images[rows[part]], decoded(payloads[part])
        columns = {"psnr": psnr(originals, reconstructions), "ssim": ssim(originals, reconstructions)}
        if lpips is not None:
            columns["lpips"] = lpips(originals, reconstructions)
        if fid is not None:
            fid.update(originals, reconstructions)
        if judge is not None:
            found = judge.recogniser.embed(reconstructions)
            columns["ids"] = cosine(judge.originals[part], found)
            columns["ids_centred"] = centred_cosine(judge.originals[part], found, judge.centre)
            embeddings.append(found)
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True), np.concatenate(embeddings)


def batches(N: int) -> Iterator[slice]:
    for i in tqdm(range(0, N, BATCH), desc="batches", mininterval=progress_seconds()):
        yield slice(i, i + BATCH)


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


def measured_rate(codec: Codec, assignment: Assignment, pixels: int) -> dict[str, float]:
    """bits and bpp: of the fixed-length payload, T log2 K + log2 M. Mean bytes really written, and bits a pixel of
    them: payload fixed-length, range-coded, and the whole file, which holds the shorter of the two."""
    bits = payload_bits(codec.bundle.sizes.T, codec.bundle.sizes.K, codec.bundle.sizes.M)
    written = {name: float(lengths.mean()) for name, lengths in codec.sizes(assignment)._asdict().items()}
    return {
        "bits": bits,
        "bpp": bits / pixels,
        **{f"{name}_bytes": size for name, size in written.items()},
        **{f"{name}_bpp": 8 * size / pixels for name, size in written.items()},
    }


def measured_utilisation(codec: Codec, assignment: Assignment) -> Mapping[str, Any]:
    used = utilisation(assignment, codec.bundle.sizes.M, codec.bundle.sizes.K)
    return {
        "utilisation_per_token": [round(float(share), 6) for share in used.per_token],
        "utilisation_token_mean": float(used.per_token.mean()),
        "utilisation_per_group": [round(float(share), 6) for share in used.per_group],
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
