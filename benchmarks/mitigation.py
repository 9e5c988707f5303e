"""What can be done about groups of people that compression serves less well? Thresholds, training data, and decoders.

python -m benchmarks.mitigation --training data/utkface/faces --fairness data/lfw/sets/utkface_fairness
    --fairness-original data/lfw/evaluation/original/utkface_fairness/seed1 --store data/lfw/faces
    --original data/lfw/evaluation/original/test/seed1
    --start models/lfw/maskgit_vqgan/stage1_tokenizer/fine_tuned/seed1 --out benchmarks/results

Four of UTKFace's ethnic groups, women and men: eight cells. Codebooks are trained by the workflow's stages 1 and 2 on
labelled faces, as many in all: drawn as UTKFace has them, or as many of each cell. Decoders are tuned by stage 3's
loss, one for all images or a low-rank correction for each codebook group. Thresholds are set on half
of the labelled faces that are tested, as each codec shows them, and measured on the other half: one for all cells, or
one for each. (UTKFace's training folder is no place for that: it has people several times, whose pairs are no false
matches.) Axes: N images, C cells.
"""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.differences import frame, told
from benchmarks.group_adapters import adapt, decode_by_group, tuning_loss
from benchmarks.mitigation_judge import Data, Judge, Judged, Show
from benchmarks.numbers import lfw_numbers, markdown
from stscq.backbones import Tokenizer
from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.data.tensors import to_float, to_uint8
from stscq.evaluation.statistics import low_high_p, paired_bootstrap
from stscq.evaluation.strangers import Cells, Estimate, cells_of, mean_ids
from stscq.evaluation.trials.codebooks import Scheme, train_codec
from stscq.evaluation.trials.setting import Setting, fit_module
from stscq.evaluation.verification import accuracies
from stscq.files import write_atomically
from stscq.machine import machine
from stscq.quantization.trained_codec import TrainedCodec, load_codec
from stscq.recognition.frozen import load_frozen
from stscq.report.strangers import in_groups, spread_of
from stscq.training.batches import Batches
from stscq.training.latents import encode_copies
from stscq.training.loop import Schedule
from stscq.training.losses import ImageLossWeights

CPU = torch.device("cpu")
FACES = 4000
"""Training faces of a codec."""
M, K, RANK = 16, 64, 4
CODEBOOKS = "{} x 64"
STAGE3 = Schedule(steps=300, batch=16, lr=0.0005, weight_decay=0.0)
WEIGHTS = ImageLossWeights(1.0, 0.1, 0.1)
"""Of stage 3, as profile lfw has them, but for its steps: twice as many."""


def drawn_rows(cells: Cells, balanced: bool, seed: int) -> np.ndarray:
    """FACES rows of some cell: as often as they are there, or as many of each cell (again where there are too few)."""
    random = np.random.default_rng(seed)
    if not balanced:
        return np.sort(random.permutation(np.concatenate(list(cells.values())))[:FACES])
    each = FACES // len(cells)
    return np.sort(np.concatenate([random.choice(rows, each, replace=len(rows) < each) for rows in cells.values()]))


def setting_of(start: Path, data: Data, rows: np.ndarray, seed: int) -> Setting:
    codec, _ = load_codec(start, CPU)
    tokenizer = codec.tokenizer.requires_grad_(False)
    kept = encode_copies(tokenizer, Batches(data.images, rows, 50, seed, CPU), copies=1)
    numbers = [lfw_numbers(stage) for stage in ("stage1_codebooks", "stage2")]
    return Setting(tokenizer, codec.codebooks.weight.detach()[0, 0], kept[0], kept[1:], rows, *numbers, seed)


def quantiser(codec: TrainedCodec) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Faces (B x 3 x S x S) to z_q and group, by nearest neighbour."""

    @torch.no_grad()
    def quantise(faces: Tensor) -> tuple[Tensor, Tensor]:
        found = codec.codebooks.search(codec.tokenizer.encode(faces), None)
        return codec.codebooks.lookup(found), found.group

    return quantise


def shown_by(codec: TrainedCodec, decoder: Tokenizer) -> Show:
    quantise = quantiser(codec)

    @torch.no_grad()
    def show(images: np.ndarray) -> np.ndarray:
        return to_uint8(decode_by_group(decoder, *quantise(to_float(images))))

    return show


def tuned(codec: TrainedCodec, data: Data, rows: np.ndarray, recogniser: Path, seed: int, adapters: bool) -> Tokenizer:
    """The codec's decoder after stage 3's loss on training faces: all of it, or ADAPTERS alone."""
    torch.manual_seed(seed)
    tokenizer = copy.deepcopy(codec.tokenizer).requires_grad_(False)
    parts = nn.ModuleList(tokenizer.decoder_parts())
    if adapters:
        adapt(parts, codec.codebooks.M, RANK)
    else:
        parts.requires_grad_(True)
    loss = tuning_loss(quantiser(codec), tokenizer, load_frozen(recogniser, CPU), WEIGHTS)
    batches = Batches(data.images, rows, STAGE3.batch, seed, CPU)
    fit_module(parts, lambda step, part: loss(batches.draw(step, part).images), STAGE3)
    return tokenizer.eval()


def codecs(start: Path, data: Data, recogniser: Path, seed: int) -> Iterator[tuple[dict[str, str], Show]]:
    """Of each codec how it was made, and what it shows."""
    for sampling in ("as they are", "balanced"):
        rows = drawn_rows(data.cells, sampling == "balanced", seed)
        setting = setting_of(start, data, rows, seed)
        for groups in (1, M):
            codec = train_codec(setting, Scheme(groups, K, shared=False))
            what = {"codebooks": CODEBOOKS.format(groups), "training faces": sampling}
            yield {**what, "decoder": "untuned"}, shown_by(codec, codec.tokenizer)
            if groups > 1 and sampling == "as they are":
                for decoder in ("tuned", "tuned for each group"):
                    network = tuned(codec, data, rows, recogniser, seed, adapters=decoder != "tuned")
                    yield {**what, "decoder": decoder}, shown_by(codec, network)


def main(
    training: Path,
    fairness: Path,
    fairness_original: Path,
    store: Path,
    original: Path,
    start: Path,
    out: Path,
    recogniser: Path = Path("stscq/recognisers/distilled.onnx"),
    judge: str = "dlib",
    seed: int = 1,
) -> None:
    """Writes OUT/mitigation.json and mitigation.md. TRAINING: a store of labelled faces; START: the tokenizer.

    FAIRNESS, STORE and their originals: labelled faces and LFW, with the judge's embeddings of the uncompressed ones.
    """
    torch.set_num_threads(1)
    images, index = open_store(training)
    data = Data(images, cells_of(index.group))
    looks = Judge(judge, fairness, fairness_original, store, original, seed)
    whole = looks.judge(lambda images: images)
    rows = list(rows_of_codec(looks, {"codebooks": "uncompressed"}, whole, whole))
    first = None
    for what, show in codecs(start, data, recogniser, seed):
        judged = looks.judge(show)
        if first is None and what["codebooks"] == CODEBOOKS.format(M):
            first = judged  # drawn as they are, untuned: what the others are compared with
        rows += rows_of_codec(looks, what, judged, first or judged)
        print(pd.DataFrame(rows).iloc[-2:].T, flush=True)
    result = {
        "machine": machine(),
        "training": {name: len(part) for name, part in data.cells.items()},
        "fairness": len(looks.faces),
        "pairs": len(looks.pairs),
        "rows": rows,
    }
    write_atomically(out / "mitigation.json", json.dumps(result, indent=1) + "\n")
    write_atomically(out / "mitigation.md", as_text(result))


def rows_of_codec(looks: Judge, what: dict[str, str], judged: Judged, first: Judged) -> Iterator[dict[str, Any]]:
    """Two rows: one threshold, and one of each cell. FIRST: the codec that this one is compared with."""
    names = dict.fromkeys(("codebooks", "training faces", "decoder"), "") | what
    for each in (False, True):
        matches, limits = looks.false_matches(judged, each)
        thresholds = {"thresholds": "of each cell" if each else "one"}
        yield (
            names
            | thresholds
            | likeness(looks, judged, first)
            | in_matches(looks, matches)
            | lfw(looks, judged, limits, first)
        )


def likeness(looks: Judge, judged: Judged, first: Judged) -> dict[str, Any]:
    """IDS of the ethnic groups, how far apart they are, and what has changed of that."""
    now, before = (
        in_groups(mean_ids(one.ids, looks.cells, looks.drawn), looks.cells, "ethnicity") for one in (judged, first)
    )
    spread, spread_before = (spread_of(one, "ids", looks.cells) for one in (now, before))
    change = Estimate(spread.values - spread_before.values, spread.draws - spread_before.draws)
    found = {f"IDS {name}": float(value) for name, value in zip(looks.ethnic, now.values, strict=True)}
    return {**found, "IDS spread": interval(spread), "its change": "" if first is judged else interval(change)}


def in_matches(looks: Judge, by_cell: Estimate) -> dict[str, Any]:
    """False match rates of the ethnic groups, and how far apart they are."""
    rate = in_groups(by_cell, looks.cells, "ethnicity")
    found = {f"false matches {name}, %": float(value) for name, value in zip(looks.ethnic, rate.values, strict=True)}
    return {**found, "log2 of largest over smallest": interval(spread_of(rate, "fmr", looks.cells))}


def lfw(looks: Judge, judged: Judged, limits: list[float], first: Judged) -> dict[str, Any]:
    """What the same thresholds accept of genuine pairs, and accuracy and IDS; LFW has no labels of groups."""
    genuine = judged.similarity[judged.pairs.same.to_numpy()]
    accepted = [100 * float((genuine > limit).mean()) for limit in (min(limits), max(limits))]
    person = pd.Series(looks.index.identity.to_numpy()[looks.rows], index=looks.rows)
    change = told(paired_bootstrap(frame(judged.lfw_ids - first.lfw_ids, person, person, "images")))
    return {
        "LFW's genuine pairs accepted, %": " to ".join(f"{share:.1f}" for share in sorted(set(accepted))),
        "LFW accuracy, %": next(iter(accuracies(judged.pairs).values())),
        "LFW IDS": float(judged.lfw_ids.mean()),
        "its change ": "" if first is judged else change,
    }


def interval(found: Estimate) -> str:
    low, high, _ = low_high_p(found.draws)
    return f"{float(found.values):.4f} [{low:.4f}, {high:.4f}]"


def as_text(result: dict[str, Any]) -> str:
    count = ", ".join(f"{name} {n}" for name, n in result["training"].items())
    of = (
        f"{result['fairness']} labelled faces of UTKFace, {result['pairs']} of LFW's pairs; "
        f"{result['machine']['cpu']}. Faces to train on: {count}. "
        f"Changes are against the first codec of {CODEBOOKS.format(M)}."
    )
    return f"# Groups of people: what can be done\n\n{of}\n\n{markdown(result['rows'])}\n"


if __name__ == "__main__":
    run(main)
