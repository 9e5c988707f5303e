"""How two evaluated codecs differ, paired: on the same images and pairs, by bootstrap over people.

python -m benchmarks.paired --evaluated '["data/lfw/evaluation/maskgit_vqgan/unequal_64_effort/test",
    "data/lfw/evaluation/maskgit_vqgan/token_specific_64/test"]' --seeds '[1, 2]' --out benchmarks/results/effort_lfw.md

Each folder is what rule `evaluate` leaves of one codec and set, with a folder for each seed; all are compared with the
first. A person whom several seeds test is drawn with all of his pairs.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from benchmarks.differences import differences, told
from benchmarks.show import show
from stscq.cli_tools import run
from stscq.errors import DataError
from stscq.evaluation.judging import Judgement
from stscq.evaluation.peers.frames import best_classic, peer_means, peer_points

SHOWN = {
    "mean_acc": "accuracy, %",
    "ids": "IDS",
    "ids_centred": "IDS, centred",
    "psnr": "PSNR, dB",
    "file_bytes": "bytes a file",
}


def read(folder: Path, selection: str) -> Judgement:
    """One evaluation, groups by `selection`, on its first protocol. Raises DataError when there is none."""
    try:
        measured = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["selections"][selection]
        images, pairs = (pd.read_parquet(folder / f"{name}.parquet") for name in ("images", "pairs"))
    except (OSError, KeyError) as problem:
        raise DataError(f"{folder}: no evaluation with selection {selection} ({problem})") from problem
    images, pairs = (frame[frame.selection == selection].reset_index(drop=True) for frame in (images, pairs))
    pairs = pairs[pairs.protocol == pairs.protocol.iloc[0]].reset_index(drop=True)
    return Judgement(images, pairs, pd.DataFrame(), measured)


def together(seeds: Sequence[Judgement]) -> Judgement:
    """Images and pairs of all seeds, and means of what was measured."""
    images, pairs = (pd.concat([getattr(one, n) for one in seeds], ignore_index=True) for n in ("images", "pairs"))
    measured = {key: sum(one.measured[key] for one in seeds) / len(seeds) for key in SHOWN}
    return Judgement(images, pairs, pd.DataFrame(), measured)


def beside_classic(
    peers: Path, image_set: str, seeds: Sequence[int], measured: Mapping[str, float]
) -> dict[str, object]:
    """What the best of all classic codecs that the folder PEERS has on a set needs to verify as well. Raises DataError
    where they were not evaluated in these seeds."""
    codecs = [file.parts[-3] for file in peers.glob(f"*/{image_set}/metrics.json")]
    points = peer_points(peers, codecs, [image_set])
    if points.empty or not set(seeds) <= set(points.seed):
        raise DataError(f"{peers}: no classic codecs on {image_set} in seeds {list(seeds)}")
    found = best_classic(peer_means(points[points.seed.isin(seeds)]), measured["mean_acc"])
    of_it = measured["file_bytes"] / found.bytes
    return {
        "best classic": f"{found.codec} {found.colour}, {found.bytes:.1f} bytes ({found.where})",
        "ours over it": of_it,
    }


def main(
    evaluated: str, seeds: str = "[1]", out: Path | None = None, selection: str = "nn", peers: Path | None = None
) -> None:
    """Prints a table, and writes it to OUT. EVALUATED: folders, a JSON list; SEEDS: numbers, a JSON list; PEERS: the
    folder of rule `evaluate_peer`, to say what classic codecs need for the same accuracy."""
    folders, numbers = [Path(one) for one in json.loads(evaluated)], json.loads(seeds)
    rows, first = [], None
    for folder in folders:
        judgement = together([read(folder / f"seed{number}", selection) for number in numbers])
        first = judgement if first is None else first
        row = {"codec": "/".join(folder.parts[-3:-1]), **{name: judgement.measured[key] for key, name in SHOWN.items()}}
        if peers is not None:
            row |= beside_classic(peers, folder.name, numbers, judgement.measured)
        if judgement is not first:
            found = differences(first, judgement)
            row |= {f"first less this: {key}": told(found[key]) for key in ("accuracy_percent", "ids", "ids_centred")}
        rows.append(row)
    assert first is not None
    counts = f"{len(first.pairs):,} pairs of {first.images.identity.nunique():,} people, {len(first.images):,} images"
    of = f"{folders[0].name}, seeds {seeds}: {counts}."
    text = f"# Paired\n\n{of}\n\n{pd.DataFrame(rows).to_markdown(index=False, floatfmt='.4f')}\n".replace("nan", "   ")
    show(text, out)


if __name__ == "__main__":
    run(main)
