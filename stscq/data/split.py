"""Split the people of a store for one seed, and pair the images of those who are evaluated.

python -m stscq.data.split --store data/demo/faces --seed 1 --out data/demo/splits/seed1 ...
"""

import json
from pathlib import Path

from stscq.cli_tools import run
from stscq.data.pairs import make_pairs, pair_table, write_pairs
from stscq.data.splits import Side, split_people
from stscq.data.store import open_store


def main(store: Path, seed: int, test_people: int, val_people: str, side: Side, folds: int, out: Path) -> None:
    """Writes OUT/index.parquet (the store's index with a column `split`) and OUT/pairs.parquet.

    VAL_PEOPLE is a JSON list of identities. The pairs are those of SIDE: val only for tuning. With no test people there
    are no pairs, and everybody trains.
    """
    index = split_people(open_store(store).index, test_people, json.loads(val_people), seed, side)
    tested = index[index.split == side]
    pairs = make_pairs(tested, folds, seed) if len(tested) else pair_table([], [], [], [])
    out.mkdir(parents=True, exist_ok=True)
    index.to_parquet(out / "index.parquet")
    write_pairs(pairs, out)


if __name__ == "__main__":
    run(main)
