"""Verification pairs: all genuine pairs and as many impostors, in folds that share no people.

Axes: a and b are rows of the image store.
"""

from itertools import combinations

import numpy as np
import pandas as pd

from stscq.errors import DataError


def make_pairs(index: pd.DataFrame, folds: int, seed: int) -> pd.DataFrame:
    """Columns a, b (rows of `index`), same (bool) and fold (0 .. folds - 1).

    Both people of an impostor pair belong to the same fold, so a fold needs two people. Where a fold has fewer
    impostor pairs than genuine ones (people with very unequal numbers of images), genuine pairs are left out at random.
    Raises DataError when there are fewer than two people a fold.
    """
    people = sorted(index.identity.unique())
    if len(people) < 2 * folds:
        raise DataError(f"{len(people)} people cannot fill {folds} folds of two; lower data.folds in params.yaml")
    random = np.random.default_rng(seed)
    random.shuffle(people)
    rows = {person: index.index[index.identity == person].to_list() for person in people}
    frames = []
    for fold in range(folds):
        members = people[fold::folds]
        genuine = [pair for person in members for pair in combinations(rows[person], 2)]
        impostors = [(a, b) for p, q in combinations(members, 2) for a in rows[p] for b in rows[q]]
        n = min(len(genuine), len(impostors))
        for pairs, same in ((genuine, True), (impostors, False)):
            chosen = np.sort(random.choice(len(pairs), n, replace=False))
            frames.append(pd.DataFrame([pairs[i] for i in chosen], columns=["a", "b"]).assign(same=same, fold=fold))
    return pd.concat(frames, ignore_index=True)
