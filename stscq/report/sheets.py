"""The same faces through every codec of a backbone, for one figure: original first, then a row a variant.

python -m stscq.report.sheets --evaluation data/demo/evaluation --store data/demo/faces --backbone ibq
    --variants '["pretrained", "global"]' --image-set test --seed 1 --stem data/demo/sheets/ibq

These are pictures of the tested people. No table and no other figure needs them: where they may not be passed on,
whoever gets the numbers of a run can do without.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.files import atomically


def main(evaluation: Path, store: Path, backbone: str, variants: str, image_set: str, seed: int, stem: Path) -> None:
    """Writes STEM.npz: `original`, N x S x S x 3 uint8, and the same by the name of each of VARIANTS (JSON, in order).

    The faces are those that stscq.evaluation.evaluate kept of IMAGE_SET and SEED: the first image of as many people.
    """
    folders = {name: evaluation / backbone / name / image_set / f"seed{seed}" for name in json.loads(variants)}
    sheets = {name: np.load(folder / "sheet.npy", allow_pickle=False) for name, folder in folders.items()}
    first, people = next(iter(folders.values())), len(next(iter(sheets.values())))
    rows = pd.read_parquet(first / "images.parquet", columns=["row", "identity"])
    shown = rows.drop_duplicates("identity").row[:people]
    with atomically(stem.with_name(f"{stem.name}.npz")) as partial, partial.open("wb") as opened:
        np.savez_compressed(opened, original=np.asarray(open_store(store).images[shown]), **sheets)  # type: ignore[arg-type]


if __name__ == "__main__":
    run(main)
