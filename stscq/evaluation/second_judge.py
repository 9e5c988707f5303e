"""Judge one codec by another recogniser than the judge: the same pairs and images, verification and IDS alone.

A decoder that the judge itself has taught may please that recogniser without keeping the person: one that took no part
tells the two apart.

python -m stscq.evaluation.second_judge --bundle models/lfw/maskgit_vqgan/bundle/token_specific/seed1 ...
"""

import json
from pathlib import Path

from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.codec.bundle.description import Selection
from stscq.device import own_device
from stscq.evaluation.judging import judge_codec, open_image_set
from stscq.files import write_atomically

SELECTION: Selection = "nn"


def main(store: Path, bundle: Path, original: Path, judge: str, out: Path, effort: int = 0) -> None:
    """Writes OUT/metrics.json, images.parquet and pairs.parquet, of the same form as stscq.evaluation.evaluate.

    ORIGINAL: the evaluation of the uncompressed images by the same recogniser JUDGE (`dlib` or an .onnx file). Groups
    of codebooks are selected by nn. EFFORT: of the encoder.
    """
    image_set = open_image_set(store, original, judge)
    codec = Codec.load(bundle, own_device()).with_effort(effort)
    assignment = codec.quantise(image_set.images, SELECTION, image_set.rows)
    files = [codec.file_of(payload) for payload in codec.payloads(assignment)]
    judgement = judge_codec(image_set, codec.decode, files)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("images", "pairs"):
        getattr(judgement, name).assign(selection=SELECTION).to_parquet(out / f"{name}.parquet")
    summary = {"images": len(image_set.rows), "selections": {SELECTION: judgement.measured}}
    write_atomically(out / "metrics.json", json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
