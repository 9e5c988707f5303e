"""What does IBQ's choice of entries cost: by the largest inner product, as its authors have it, or the nearest?

python -m benchmarks.inner_product --bundles '["models/lfw/ibq/bundle/token_specific/seed1",
    "models/lfw/ibq/bundle/global/seed1"]' --store data/lfw/faces --original data/lfw/evaluation/original/test/seed1
    --out benchmarks/results/inner_product.md

The same bundles, whose codebooks and decoders were trained with inner products, encode both ways; the decoder does not
know which. Paired differences to the first bundle with nearest entries.
"""

import json
from pathlib import Path

import pandas as pd

from benchmarks.differences import differences, told
from benchmarks.show import show
from stscq.backbones.base import Metric
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.evaluation.evaluate import evaluate
from stscq.evaluation.judging import ImageSet, Judgement, open_image_set

CHOICES: dict[str, Metric] = {"nearest": "euclidean", "largest inner product": "inner"}


def judged(bundle: Path, metric: Metric, faces: ImageSet) -> Judgement:
    """An evaluation in which the encoder chooses entries by `metric`."""
    codec = Codec.load(bundle)
    codec.encoder.metric = metric
    found = evaluate(codec, "nn", faces, codec.quantise(faces.images, "nn", faces.rows), None, None)
    return found.judgement._replace(measured=dict(found.measured))


def main(bundles: str, store: Path, original: Path, judge: str = "dlib", out: Path | None = None) -> None:
    """Prints a table, and writes it to OUT. BUNDLES: folders of IBQ's codecs, a JSON list."""
    faces = open_image_set(store, original, judge)
    first, rows = None, []
    for folder in map(Path, json.loads(bundles)):
        for choice, metric in CHOICES.items():
            judgement = judged(folder, metric, faces)
            first = judgement if first is None else first
            found = {} if judgement is first else differences(first, judgement)
            rows.append({
                "codec": Codec.load(folder).bundle.name,
                "entries": choice,
                **{key: judgement.measured[key] for key in ("mean_acc", "ids", "psnr", "file_bytes")},
                **{f"first less this: {key}": told(found[key]) for key in ("accuracy_percent", "ids") if found},
            })  # fmt: skip
    table = pd.DataFrame(rows).fillna("").to_markdown(index=False, floatfmt=".4f")
    text = f"# How IBQ chooses entries\n\n{len(faces.pairs):,} pairs, {len(faces.rows):,} images.\n\n{table}\n"
    show(text, out)


if __name__ == "__main__":
    run(main)
