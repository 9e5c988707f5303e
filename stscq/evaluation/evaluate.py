"""Evaluate one codec on one set of images: bytes, reconstructions, verification, quality, utilisation.

python -m stscq.evaluation.evaluate --bundle models/demo/titok_s/bundle/token_specific/seed1 ...
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from stscq.bits import payload_bits
from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.codec.bundle.description import Selection
from stscq.device import own_device
from stscq.evaluation.batch_differences import batch_differences
from stscq.evaluation.fid import Fid
from stscq.evaluation.judging import FILES, Compared, ImageSet, Judgement, judge_codec, open_image_set
from stscq.evaluation.lpips import Lpips
from stscq.evaluation.published_metrics import missing
from stscq.evaluation.quantise import quantised
from stscq.evaluation.utilisation import utilisation
from stscq.files import write_atomically
from stscq.quantization.search import Assignment

SELECTIONS: tuple[Selection, ...] = ("nn", "router")
SHOWN = 8
"""Reconstructions kept for the figures: the first image of as many people."""
COUNTED = 64
"""Images on which indices from batches of 1 and of 64 are compared."""


def main(
    store: Path, bundle: Path, out: Path, judge: str, metrics: str, original: Path | None = None, effort: int = 0
) -> None:
    """Writes OUT/metrics.json, images.parquet (a row an image), files.parquet (the compressed files themselves),
    pairs.parquet, group_pairs.parquet and sheet.npy (some reconstructions).

    BUNDLE: the codec as people get it; every number comes from the files that it writes, decoded again. A codec with a
    router is evaluated with both selections, any other with nn. ORIGINAL is the evaluation of the uncompressed images,
    which says which pairs are compared; without it the pictures are no faces, and all images of the store are compared
    by quality alone, FID included. METRICS names the weights files of LPIPS and FID (JSON); where they are absent,
    metrics.json says so. EFFORT: of the encoder, 0 to 9 (stscq.codec.effort); what it has found so far lies in
    OUT.partial, and is taken up again.
    """
    image_set = open_image_set(store, original, judge)
    codec = Codec.load(bundle, own_device()).with_effort(effort)
    weights = {name: Path(path) for name, path in json.loads(metrics).items()}
    absent = missing(json.loads(metrics))
    lpips = None if "lpips" in absent else Lpips(weights["alexnet"], weights["lpips_alex"], own_device())
    inception = weights["fid_inception"] if original is None and "fid" not in absent else None
    selections = SELECTIONS if codec.router is not None else SELECTIONS[:1]
    z_e = codec.latents(image_set.images, image_set.rows)
    unfinished = out.with_name(f"{out.name}.partial")
    evaluated: list[Evaluation] = []
    for selection in selections:
        kept = unfinished / f"{selection}.safetensors"
        assignment = quantised(codec, selection, image_set.images, image_set.rows, z_e, kept)
        before = evaluated[-1].judgement.compared if evaluated else None  # the router often finds the nearest group
        evaluated.append(evaluate(codec, selection, image_set, assignment, lpips, inception, before))
    out.mkdir(parents=True, exist_ok=True)
    for name in ("images", "pairs", "group_pairs"):
        frames = [getattr(one.judgement, name).assign(selection=one.selection) for one in evaluated]
        pd.concat(frames, ignore_index=True).to_parquet(out / f"{name}.parquet")
    written = [
        pd.DataFrame({"row": image_set.rows, "selection": one.selection, "file": one.files}) for one in evaluated
    ]
    pd.concat(written, ignore_index=True).to_parquet(out / FILES)
    nn = evaluated[0]
    shown = pd.Series(image_set.identity).drop_duplicates().index[:SHOWN]
    np.save(out / "sheet.npy", codec.decode([nn.files[i] for i in shown]), allow_pickle=False)
    counted = image_set.images[image_set.rows[:COUNTED]]
    summary = {
        "images": len(image_set.rows),
        "pixels": image_set.size**2,
        "missing": absent,
        "selections": {one.selection: one.measured for one in evaluated},
        "batch_1_and_64": batch_differences(codec, counted, nn.selection)._asdict(),
    }
    if len(evaluated) == 2:
        same = nn.judgement.images.group == evaluated[1].judgement.images.group
        summary["nn_router_agreement"] = float(same.mean())
    write_atomically(out / "metrics.json", json.dumps(summary, indent=2) + "\n")
    shutil.rmtree(unfinished, ignore_errors=True)


class Evaluation(NamedTuple):
    """A codec with one selection. files: one an image; judgement.images also has the group of each image."""

    selection: Selection
    files: Sequence[bytes]
    judgement: Judgement
    measured: Mapping[str, Any]


def evaluate(
    codec: Codec,
    selection: Selection,
    image_set: ImageSet,
    assignment: Assignment,
    lpips: Lpips | None,
    inception: Path | None,
    before: Compared | None = None,
) -> Evaluation:
    """Write the files of quantised images, decompress and judge. assignment: of all images of the set, by `selection`.

    inception: the weights of FID; None where it is not measured. before: of the same images, by another selection.
    """
    payloads = codec.payloads(assignment)
    files = [codec.file_of(payload) for payload in payloads]
    fid = None if inception is None else Fid(inception, own_device())
    judgement = judge_codec(image_set, codec.decode, files, lpips, fid, before)
    measured = {
        **judgement.measured,
        **measured_rate(codec, assignment, payloads, image_set.size**2),
        **measured_utilisation(codec, assignment),
    }
    images = judgement.images.assign(group=assignment.group.numpy())
    return Evaluation(selection, files, judgement._replace(images=images), measured)


def measured_rate(codec: Codec, assignment: Assignment, payloads: Sequence[bytes], pixels: int) -> dict[str, float]:
    """bits and bpp: of the fixed-length payload, T log2 K + log2 M. Mean bytes really written, and bits a pixel of
    them: payload fixed-length, range-coded, and the whole file, which holds the shorter of the two."""
    bits = payload_bits(codec.bundle.sizes.T, codec.bundle.sizes.token_entries, codec.bundle.sizes.M)
    written = {name: float(lengths.mean()) for name, lengths in codec.sizes(assignment, payloads)._asdict().items()}
    return {
        "bits": bits,
        "bpp": bits / pixels,
        **{f"{name}_bytes": size for name, size in written.items()},
        **{f"{name}_bpp": 8 * size / pixels for name, size in written.items()},
    }


def measured_utilisation(codec: Codec, assignment: Assignment) -> Mapping[str, Any]:
    used = utilisation(assignment, codec.bundle.sizes.M, codec.bundle.sizes.K, codec.bundle.sizes.entries)
    return {
        "utilisation_per_token": [round(float(share), 6) for share in used.per_token],
        "utilisation_token_mean": float(used.per_token.mean()),
        "utilisation_per_group": [round(float(share), 6) for share in used.per_group],
        "utilisation_all_entries": used.all_entries,
        "utilisation_merged": used.merged,
        "utilisation_bound": used.bound_all_entries,
        "groups_used": used.groups,
    }


if __name__ == "__main__":
    run(main)
