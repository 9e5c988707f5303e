"""What does encoder effort bring on some of LFW's pairs, and what does it cost?

python -m benchmarks.effort --bundle models/lfw/maskgit_vqgan/bundle/unequal/seed1 --store data/lfw/faces
    --original data/lfw/evaluation/original/test/seed1 --out benchmarks/results

A sample, because effort takes a large part of a second an image; the table `effort` of a run has all pairs.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.differences import differences, told
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.codec.effort import RECOGNISER
from stscq.device import own_device
from stscq.evaluation.judging import ImageSet, Judgement, judge_codec, open_image_set, rows_of
from stscq.evaluation.statistics import Paired
from stscq.files import write_atomically
from stscq.machine import machine
from stscq.recognition.base import unit
from stscq.recognition.load import load_recogniser


def main(
    bundle: Path, store: Path, original: Path, out: Path, pairs: int = 600, effort: int = 5, judge: str = "dlib"
) -> None:
    """Writes OUT/effort.json and effort.md: accuracy, IDS, bytes and seconds without effort and with EFFORT.

    PAIRS of the official ones of ORIGINAL, half of the same person, drawn by seed 0; images of STORE.
    """
    torch.set_num_threads(1)
    everything = open_image_set(store, original, judge)
    sample = sampled(everything, pairs)
    codec = Codec.load(bundle, own_device())
    watched = load_recogniser(str(RECOGNISER))
    seen = unit(watched.embed(sample.images[sample.rows]))
    found = {level: measured(codec.with_effort(level), sample, watched, seen) for level in (0, effort)}
    judged = {level: judgement for level, (judgement, _) in found.items()}
    result = {
        "bundle": codec.bundle.name,
        "machine": machine(),
        "pairs": len(sample.pairs),
        "images": len(sample.rows),
        "efforts": {str(level): numbers for level, (_, numbers) in found.items()},
        "difference": {name: value._asdict() for name, value in differences(judged[effort], judged[0]).items()},
    }
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "effort.json", json.dumps(result, indent=1) + "\n")
    write_atomically(out / "effort.md", as_text(result))


def sampled(image_set: ImageSet, pairs: int) -> ImageSet:
    """With so many pairs of its first protocol, half genuine, and their images alone."""
    own = image_set.pairs[image_set.pairs.protocol == image_set.pairs.protocol.iloc[0]]
    half = own.groupby("same").sample(pairs // 2, random_state=0).sort_index()
    rows = rows_of(half, len(image_set.images))
    kept = np.isin(image_set.rows, rows)
    assert image_set.judge is not None
    by = image_set.judge._replace(originals=image_set.judge.originals[kept])
    return image_set._replace(
        rows=rows, identity=image_set.identity[kept], pairs=half, group_pairs=image_set.group_pairs[:0], judge=by
    )


def measured(codec: Codec, sample: ImageSet, watched: Any, seen: np.ndarray) -> tuple[Judgement, dict[str, float]]:
    """What the judge makes of it, and the numbers: with the cosine that the search itself looks at, and seconds."""
    began = time.process_time()
    assignment = codec.quantise(sample.images, rows=sample.rows)
    seconds = (time.process_time() - began) / len(sample.rows)
    files = [codec.file_of(payload) for payload in codec.payloads(assignment)]
    judgement = judge_codec(sample, codec.decode, files)
    again = unit(watched.embed(codec.reconstruct(assignment)))
    return judgement, {
        "accuracy_percent": judgement.measured["mean_acc"],
        **{name: judgement.measured[name] for name in ("ids", "ids_centred", "psnr")},
        "cosine_of_the_recogniser_followed": float((again * seen).sum(1).mean()),
        "file_bytes": float(np.mean([len(file) for file in files])),
        "cpu_seconds_an_image": seconds,
    }


def as_text(result: dict[str, Any]) -> str:
    """A Markdown table: a row a number, a column an effort, and the paired difference."""
    levels: Sequence[str] = list(result["efforts"])
    lines = [
        f"{result['bundle']}, {result['pairs']} of LFW's pairs, {result['images']} images; {result['machine']['cpu']}",
        "",
        "| | " + " | ".join(f"effort {level}" for level in levels) + " | difference [95 % interval over people] |",
        "| --- | " + "--- | " * (len(levels) + 1),
    ]
    for name in result["efforts"][levels[0]]:
        cells = " | ".join(f"{result['efforts'][level][name]:.4g}" for level in levels)
        paired = result["difference"].get(name)
        lines.append(f"| {name} | {cells} | {told(Paired(**paired)) if paired else ''} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run(main)
