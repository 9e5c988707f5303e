"""Split the people of a store for one seed, and pair the images of those who are evaluated.

python -m stscq.data.split --store data/demo/faces --seed 1 --out data/demo/splits/seed1 ...
"""

import json
from pathlib import Path

import pandas as pd

from stscq.cli_tools import run
from stscq.data.pairs import make_pairs, pair_table, write_pairs
from stscq.data.splits import Side, split_by_pairs, split_people
from stscq.data.store import open_store
from stscq.errors import DataError
from stscq.files import atomically

OFFICIAL = "official"
"""In the place of a number of test people: those of the pairs that the set brings."""


def main(store: Path, seed: int, test_people: str, val_people: str, side: Side, folds: int, out: Path) -> None:
    """Writes OUT/index.parquet (the store's index with a column `split`) and OUT/pairs.parquet.

    TEST_PEOPLE is a number; or `official`: half of the folds of STORE/pairs.parquet are tested, by its pairs.
    VAL_PEOPLE is a JSON list of identities, or with official pairs a number of people. The pairs are those of SIDE: val
    only for tuning. With no test people there are no pairs, and everybody trains.
    """
    index, kept = open_store(store).index, json.loads(val_people)
    official = test_people == OFFICIAL
    if official:
        index, pairs = split_by_pairs(index, official_pairs(store), kept, seed, side)
    else:
        index = split_people(index, int(test_people), kept, seed, side)
    if not official or side == "val":
        tested = index[index.split == side]
        pairs = make_pairs(tested, folds, seed) if len(tested) else pair_table([], [], [], [])
    with atomically(out / "index.parquet") as partial:
        index.to_parquet(partial)
    write_pairs(pairs, out)


def official_pairs(store: Path) -> pd.DataFrame:
    """Raises DataError when the set brings none."""
    if not (store / "pairs.parquet").is_file():
        raise DataError(
            f"{store}/pairs.parquet: missing; data.test_people: official needs a set with pairs, such as LFW"
        )
    return pd.read_parquet(store / "pairs.parquet")


if __name__ == "__main__":
    run(main)
