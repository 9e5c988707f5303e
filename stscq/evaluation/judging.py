"""What every evaluation of a codec shares: the images of a set, and how the judge and the eye compare reconstructions.

Axes: N images of S x S pixels, E embedding length.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import tqdm

from stscq.data.store import open_store
from stscq.device import own_device
from stscq.evaluation.fid import Fid
from stscq.evaluation.lpips import Lpips
from stscq.evaluation.quality import psnr, ssim
from stscq.evaluation.verification import accuracies, judge_pairs, similarity
from stscq.files import progress_seconds
from stscq.recognition.base import Recogniser, unit
from stscq.recognition.load import load_recogniser

BATCH = 256
PER_IMAGE = ("ids", "ids_centred", "psnr", "ssim", "lpips")
FILES = "files.parquet"
"""What a codec wrote: `file` (bytes) for each store `row` and `selection`, so that others judge it unencoded."""
Decode = Callable[[Sequence[bytes]], np.ndarray]
"""From a batch of files (or payloads) to N x S x S x 3 uint8, of any codec."""


class Judge(NamedTuple):
    """A recogniser, its embeddings of the uncompressed images (N x E), and the centre of the centred IDS (E)."""

    recogniser: Recogniser
    originals: np.ndarray
    centre: np.ndarray


class ImageSet(NamedTuple):
    """The images of one set that are evaluated.

    images: the whole store (uint8, S x S x 3 each); rows: N of them, whose people are `identity`; pairs: of all
    protocols; group_pairs: inside groups of people. Pictures that are no faces have no pairs and no judge; faces of
    unknown identity no pairs, but labels of groups of people (N).
    """

    images: np.ndarray
    rows: np.ndarray
    identity: np.ndarray
    pairs: pd.DataFrame
    group_pairs: pd.DataFrame
    judge: Judge | None
    labels: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return int(self.images.shape[1])


class Compared(NamedTuple):
    """The files of the N images of a set, and what they decode to, beside the originals: N rows of PER_IMAGE, and N x E
    embeddings (N x 0 without a judge)."""

    files: Sequence[bytes]
    frame: pd.DataFrame
    embeddings: np.ndarray


class Judgement(NamedTuple):
    """What was measured of the reconstructions of one codec on one set.

    images: a row an image (row, identity, and PER_IMAGE; label and embedding where identities are unknown); pairs: as
    `judge_pairs` has them; group_pairs: with similarity; measured: means of PER_IMAGE, and what concerns the whole set;
    compared: for a further judgement of files that are the same in part.
    """

    images: pd.DataFrame
    pairs: pd.DataFrame
    group_pairs: pd.DataFrame
    measured: dict[str, Any]
    compared: Compared | None = None


def open_image_set(store: Path, original: Path | None, judge: str) -> ImageSet:
    """The images of STORE that are in pairs. ORIGINAL: the evaluation of the uncompressed images, which has the pairs.

    Without it the pictures are no faces, and all of them are evaluated; as are faces of unknown identity.
    """
    images, index = open_store(store)
    if original is None:
        everything = np.arange(len(images))
        return ImageSet(images, everything, index.identity.to_numpy(), pd.DataFrame(), pd.DataFrame(), None)
    pairs = pairs_of(original)
    group_pairs = pd.read_parquet(original / "group_pairs.parquet", columns=["a", "b", "same", "group"])
    rows, by = rows_of(pairs, len(images)), load_judge(judge, original)
    labels = index.group.to_numpy() if pairs.empty else None
    return ImageSet(images, rows, index.identity.to_numpy()[rows], pairs, group_pairs, by, labels)


def rows_of(pairs: pd.DataFrame, N: int) -> np.ndarray:
    """The images in some pair; all N where there are none, for nobody knows who is on them."""
    return np.unique(pairs[["a", "b"]]) if len(pairs) else np.arange(N)


def pairs_of(original: Path) -> pd.DataFrame:
    """The pairs of all protocols, without what the uncompressed images gave."""
    return pd.read_parquet(original / "pairs.parquet", columns=["a", "b", "same", "fold", "protocol"])


def load_judge(name: str, original: Path) -> Judge:
    arrays = (np.load(original / f"{part}.npy", allow_pickle=False) for part in ("embeddings", "centre"))
    return Judge(load_recogniser(name), *arrays)


def judge_codec(
    image_set: ImageSet,
    decode: Decode,
    files: Sequence[bytes],
    lpips: Lpips | None = None,
    fid: Fid | None = None,
    before: Compared | None = None,
) -> Judgement:
    """Compare what a codec made of images[rows] with them: quality, and verification where there is a judge.

    lpips: with its weights, else it is not measured. fid: a fresh one, of this set, else it is not measured. before: of
    other files of the same codec; what is the same in both is not decoded again.
    """
    compared = compare(image_set, decode, files, lpips, fid, before)
    frame, embeddings = compared.frame.assign(row=image_set.rows, identity=image_set.identity), compared.embeddings
    measured: dict[str, Any] = {name: float(frame[name].mean()) for name in PER_IMAGE if name in frame}
    if fid is not None:
        measured["fid"] = fid.value()
    if image_set.judge is None:
        return Judgement(frame, image_set.pairs, image_set.group_pairs, measured, compared)
    table = by_row(embeddings, image_set.rows, len(image_set.images))
    pairs = judge_pairs(table, image_set.pairs)
    group_pairs = image_set.group_pairs.assign(similarity=similarity(table, image_set.group_pairs))
    protocols = by_protocol(pairs, frame)
    measured["protocols"] = protocols
    if image_set.labels is not None:
        frame = frame.assign(label=image_set.labels, embedding=list(embeddings))
        return Judgement(frame, pairs, group_pairs, measured, compared)
    mean_acc = protocols[image_set.pairs.protocol.iloc[0]]["mean_acc"]
    return Judgement(frame, pairs, group_pairs, {"mean_acc": mean_acc, **measured}, compared)


def compare(
    image_set: ImageSet,
    decode: Decode,
    files: Sequence[bytes],
    lpips: Lpips | None,
    fid: Fid | None,
    before: Compared | None,
) -> Compared:
    """Decode, and compare each image with its original, a batch at a time.

    Columns ids and ids_centred only with a judge, lpips only with its weights. `fid` takes all pairs in, so that it
    cannot do with the files that differ from those `before`.
    """
    if before is None or fid is not None:
        return compare_some(image_set, decode, files, np.arange(len(files)), lpips, fid)
    new = np.array([i for i, pair in enumerate(zip(files, before.files, strict=True)) if pair[0] != pair[1]], dtype=int)
    if not len(new):
        return before
    found = compare_some(image_set, decode, [files[i] for i in new], new, lpips, fid)
    frame, embeddings = before.frame.copy(), before.embeddings.copy()
    frame.loc[new], embeddings[new] = found.frame.to_numpy(), found.embeddings
    return Compared(files, frame, embeddings)


def compare_some(
    image_set: ImageSet,
    decode: Decode,
    files: Sequence[bytes],
    which: np.ndarray,
    lpips: Lpips | None,
    fid: Fid | None,
) -> Compared:
    """The files of those images of the set whose positions among its N rows are `which`, in that order."""
    judge = image_set.judge
    frames, embeddings = [], []
    for part in batches(len(files)):
        positions = which[part]
        originals, reconstructions = image_set.images[image_set.rows[positions]], decode(files[part])
        columns = {"psnr": psnr(originals, reconstructions), "ssim": ssim(originals, reconstructions, own_device())}
        if lpips is not None:
            columns["lpips"] = lpips(originals, reconstructions)
        if fid is not None:
            fid.update(originals, reconstructions)
        if judge is not None:
            found = judge.recogniser.embed(reconstructions)
            columns["ids"] = cosine(judge.originals[positions], found)
            columns["ids_centred"] = centred_cosine(judge.originals[positions], found, judge.centre)
        frames.append(pd.DataFrame(columns))
        embeddings.append(np.zeros((len(positions), 0), np.float32) if judge is None else found)
    return Compared(files, pd.concat(frames, ignore_index=True), np.concatenate(embeddings))


def by_protocol(judged: pd.DataFrame, frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Accuracy in % of each protocol, and IDS and centred IDS of the images on its pairs. frame: a row an image."""
    found = {}
    for protocol, value in accuracies(judged).items():
        pairs = judged[judged.protocol == protocol]
        paired = frame[frame.row.isin(np.unique(pairs[["a", "b"]]))]
        found[protocol] = {
            "mean_acc": value,
            "ids": float(paired.ids.mean()),
            "ids_centred": float(paired.ids_centred.mean()),
            "pairs": len(pairs),
            "images": len(paired),
        }
    return found


def batches(N: int) -> Iterator[slice]:
    for i in tqdm(range(0, N, BATCH), desc="batches", mininterval=progress_seconds()):
        yield slice(i, i + BATCH)


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each row of a with the same row of b, both N x E of length 1: N numbers."""
    return np.einsum("ne,ne->n", a, b)


def centred_cosine(a: np.ndarray, b: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Cosine of the rows of a and b (N x E) as seen from `centre` (E) instead of from the origin."""
    return cosine(unit(a - centre), unit(b - centre))


def by_row(embeddings: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    """Spread the embeddings of some rows over a table of all rows of the store (size x E); the others are NaN."""
    table = np.full((size, embeddings.shape[1]), np.nan, dtype=np.float32)
    table[rows] = embeddings
    return table
