"""People without identities and outside LFW's pairs, on whom something may be chosen: UTKFace's faces, by IDS."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.differences import frame, told
from stscq.evaluation.judging import Judge, centred_cosine, cosine, open_image_set
from stscq.evaluation.quality import psnr
from stscq.evaluation.statistics import paired_bootstrap
from stscq.recognition.base import unit


class Strangers(NamedTuple):
    """images: N x S x S x 3 uint8; judge: with its embeddings of them."""

    images: np.ndarray
    judge: Judge


def open_strangers(store: Path, original: Path, people: int, first: int = 0, judge: str = "dlib") -> Strangers:
    """PEOPLE of a STORE, every so many rows, beginning with row FIRST. ORIGINAL: their evaluation uncompressed."""
    faces = open_image_set(store, original, judge)
    assert faces.judge is not None
    places = np.arange(first, len(faces.rows), max(1, len(faces.rows) // people))[:people]
    return Strangers(faces.images[faces.rows[places]], faces.judge._replace(originals=faces.judge.originals[places]))


def measured(faces: Strangers, again: np.ndarray) -> dict[str, np.ndarray]:
    """Of reconstructions (N x S x S x 3 uint8), a number a picture each."""
    originals, found = faces.judge.originals, unit(faces.judge.recogniser.embed(again))
    return {
        "IDS": cosine(originals, found),
        "IDS, centred": centred_cosine(originals, found, faces.judge.centre),
        "PSNR, dB": psnr(faces.images, again),
    }


def beside(rows: Sequence[tuple[Mapping[str, object], Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]) -> str:
    """A Markdown table. Of each row: its labels, what was measured, and what it is compared with.

    A cell has the mean; the next one the mean difference and its 95 % interval over pictures, unless it is compared
    with itself.
    """
    table = []
    for labels, own, other in rows:
        cells = dict(labels)
        for name, values in own.items():
            cells[name] = f"{values.mean():.4f}"
            cells[f"{name}: more"] = "" if own is other else told(paired_bootstrap(of_pictures(values - other[name])))
        table.append(cells)
    return pd.DataFrame(table).to_markdown(index=False, disable_numparse=True)


def of_pictures(value: np.ndarray) -> pd.DataFrame:
    """Differences as `paired_bootstrap` takes them: everybody is somebody else."""
    people = pd.Series(np.arange(len(value)))
    return frame(pd.Series(value), people, people, "images")
