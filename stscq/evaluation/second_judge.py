"""Judge one codec by another recogniser than the judge: the same pairs and files, verification and IDS alone.

A decoder that the judge itself has taught may please that recogniser without keeping the person: one that took no part
tells the two apart.

python -m stscq.evaluation.second_judge --bundle models/lfw/maskgit_vqgan/bundle/token_specific/seed1 ...
"""

import json
from pathlib import Path

import pandas as pd

from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.codec.bundle.description import Selection
from stscq.device import own_device
from stscq.errors import StscqError
from stscq.evaluation.judging import FILES, judge_codec, open_image_set
from stscq.files import write_atomically

SELECTION: Selection = "nn"


def main(store: Path, bundle: Path, original: Path, evaluated: Path, judge: str, out: Path) -> None:
    """Writes OUT/metrics.json, images.parquet and pairs.parquet, of the same form as stscq.evaluation.evaluate.

    ORIGINAL: the evaluation of the uncompressed images by the same recogniser JUDGE (`dlib` or an .onnx file).
    EVALUATED: that of the codec by the judge, which kept the files (selection nn). Raises StscqError when they are of
    other images.
    """
    image_set = open_image_set(store, original, judge)
    kept = pd.read_parquet(evaluated / FILES).query("selection == @SELECTION")
    if kept.row.tolist() != image_set.rows.tolist():
        raise StscqError(f"{evaluated / FILES}: files of other images than {original} compares; evaluate again")
    judgement = judge_codec(image_set, Codec.load(bundle, own_device()).decode, kept.file.tolist())
    out.mkdir(parents=True, exist_ok=True)
    for name in ("images", "pairs"):
        getattr(judgement, name).assign(selection=SELECTION).to_parquet(out / f"{name}.parquet")
    summary = {"images": len(image_set.rows), "selections": {SELECTION: judgement.measured}}
    write_atomically(out / "metrics.json", json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
