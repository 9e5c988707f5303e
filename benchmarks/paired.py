"""How two evaluated codecs differ, paired: on the same images and pairs, by bootstrap over people.

python -m benchmarks.paired --evaluated '["data/lfw/evaluation/maskgit_vqgan/unequal_64_effort/test/seed1",
    "data/lfw/evaluation/maskgit_vqgan/token_specific_64/test/seed1"]' --out benchmarks/results/effort_lfw.md

Each folder is what rule `evaluate` leaves of one codec, set and seed; all are compared with the first.
"""

import json
from pathlib import Path

import pandas as pd

from benchmarks.differences import differences, told
from stscq.cli_tools import run
from stscq.errors import DataError
from stscq.evaluation.judging import Judgement
from stscq.files import write_atomically

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


def main(evaluated: str, out: Path | None = None, selection: str = "nn") -> None:
    """Prints a table, and writes it to OUT. EVALUATED: folders, a JSON list."""
    folders = [Path(one) for one in json.loads(evaluated)]
    first = read(folders[0], selection)
    rows = []
    for folder in folders:
        judgement = read(folder, selection)
        row = {"codec": "/".join(folder.parts[-4:-2]), **{name: judgement.measured[key] for key, name in SHOWN.items()}}
        if folder != folders[0]:
            found = differences(first, judgement)
            row |= {f"first less this: {key}": told(found[key]) for key in ("accuracy_percent", "ids", "ids_centred")}
        rows.append(row)
    of = f"{folders[0].parts[-2]}, {folders[0].parts[-1]}: {len(first.pairs):,} pairs, {len(first.images):,} images."
    text = f"# Paired\n\n{of}\n\n{pd.DataFrame(rows).to_markdown(index=False, floatfmt='.4f')}\n".replace("nan", "   ")
    print(text)
    if out is not None:
        write_atomically(out, text)


if __name__ == "__main__":
    run(main)
