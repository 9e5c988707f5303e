"""What int8 codebooks change: indices, accuracy and IDS when sender and receiver both hold them.

python -m stscq.evaluation.int8 --bundle models/demo/titok_s/bundle/token_specific/seed1 --store data/demo/faces
    --original ... --judge dlib --out data/demo/int8/titok_s/token_specific/test/seed1
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.device import own_device
from stscq.evaluation.cost import codebooks_mib
from stscq.evaluation.int8_codebooks import from_int8, int8_mib, to_int8
from stscq.evaluation.judging import judge_codec, open_image_set
from stscq.files import write_atomically
from stscq.quantization.search import Assignment


def main(bundle: Path, store: Path, original: Path, judge: str, out: Path) -> None:
    """Writes OUT/metrics.json, images.parquet and pairs.parquet, the same columns as the evaluation in float32.

    Groups are selected as BUNDLE prefers: by its router where it has one, as at the edge. ORIGINAL is the
    evaluation of the uncompressed images, which says which pairs are compared.
    """
    faces = open_image_set(store, original, judge)
    codec = Codec.load(bundle, own_device())
    small = codec.with_codebooks(from_int8(to_int8(codec.all_codebooks)))
    selection = codec.bundle.selection
    z_e = codec.latents(faces.images, faces.rows)
    wide, narrow = (one.quantise(faces.images, selection, faces.rows, z_e) for one in (codec, small))
    judged = judge_codec(faces, lambda payloads: small.reconstruct(small.parse(payloads)), small.payloads(narrow))
    out.mkdir(parents=True, exist_ok=True)
    judged.images.assign(selection=selection, group=narrow.group.numpy()).to_parquet(out / "images.parquet")
    judged.pairs.assign(selection=selection).to_parquet(out / "pairs.parquet")
    metrics = {
        "images": len(faces.rows),
        "selection": selection,
        **sizes(codec.all_codebooks),
        **agreement(wide, narrow)._asdict(),
        **judged.measured,
    }
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")


class Agreement(NamedTuple):
    """Shares in [0, 1]: of images with the same group, of tokens with the same group and entry, and of images with
    the same payload; and how many tokens differ."""

    groups_equal: float
    indices_equal: float
    images_equal: float
    indices_different: int


def agreement(wide: Assignment, narrow: Assignment) -> Agreement:
    """An entry of another group is another entry."""
    group = wide.group == narrow.group
    same = (wide.index == narrow.index) & group[:, None]
    return Agreement(
        float(group.float().mean()), float(same.float().mean()), float(same.all(1).float().mean()), int((~same).sum())
    )


def sizes(codebooks: Tensor) -> dict[str, Any]:
    """MiB of all codebooks (M x S x K x d), as float32 and as int8 with their scales."""
    M, S, K, d = codebooks.shape
    return {"M": M, "K": K, "float32_mib": codebooks_mib(M, S, K, d), "int8_mib": int8_mib(M, S, K, d)}


if __name__ == "__main__":
    run(main)
