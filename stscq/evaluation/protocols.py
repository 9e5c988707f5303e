"""Which pairs of images are compared: the drawn or published ones, harder ones of our own, and pairs inside groups.

Five benchmarks bring their pairs along. Our own test people have one set of images, so their further protocols pick
from the same images, by the uncompressed ones alone: every codec is asked the same questions. A table of pairs has the
columns a, b (rows of the store), same, fold and protocol. Axes: N images of S x S pixels, E embedding length.
"""

from itertools import combinations

import cv2
import numpy as np
import pandas as pd

OWN = "random_impostors"
"""Drawn by stscq.data.pairs: all genuine pairs, and as many impostor pairs at random."""
PUBLISHED = "published"
"""As a benchmark brings them."""
HARD = "hardest_impostors"
CHANGED = "largest_change"
SHARE = 1 / 3
"""Share of a fold's genuine pairs: so many are the hardest, and as many of the other kind stand beside them."""
COARSE = 16
"""Pixels of a side at which a change of pose or light still shows, and one of a wrinkle does not."""


def own_protocols(
    pairs: pd.DataFrame, identity: pd.Series, embeddings: np.ndarray, images: np.ndarray, seed: int
) -> pd.DataFrame:
    """The drawn pairs, and from among them and all impostor pairs of the same folds two harder choices.

    hardest_impostors: in each fold the impostor pairs whose uncompressed images the judge finds most alike, and genuine
    pairs at random. largest_change: the genuine pairs whose aligned uncompressed images differ most at 16 x 16 pixels,
    by pose or light, and impostor pairs at random. identity, embeddings (N x E) and images are by row of the store.
    """
    random = np.random.default_rng(seed)
    frames = [pairs.assign(protocol=OWN)]
    for fold, drawn in pairs.groupby("fold"):
        genuine, impostors = drawn[drawn.same], drawn[~drawn.same]
        n = max(1, round(SHARE * len(genuine)))
        crossing = all_impostors(np.unique(drawn[["a", "b"]]), identity).assign(same=False, fold=fold)
        alike = np.einsum("pe,pe->p", embeddings[crossing.a], embeddings[crossing.b])
        hardest = crossing.iloc[np.sort(np.argsort(-alike, kind="stable")[:n])]
        changed = genuine.iloc[np.sort(np.argsort(-coarse_change(genuine, images), kind="stable")[:n])]
        for protocol, hard, other in ((HARD, hardest, genuine), (CHANGED, changed, impostors)):
            others = other.iloc[np.sort(random.choice(len(other), min(n, len(other)), replace=False))]
            frames.append(pd.concat([hard, others]).assign(protocol=protocol))
    return pd.concat(frames, ignore_index=True)


def all_impostors(rows: np.ndarray, identity: pd.Series) -> pd.DataFrame:
    """Every pair of images (a < b) of different people; rows of the store."""
    pairs = pd.DataFrame(list(combinations(np.sort(rows), 2)), columns=["a", "b"])
    different = pairs.a.map(identity).to_numpy() != pairs.b.map(identity).to_numpy()
    return pairs[different].reset_index(drop=True)


def coarse_change(pairs: pd.DataFrame, images: np.ndarray) -> np.ndarray:
    """Mean squared difference of both images of each pair at 16 x 16 grey pixels, each to zero mean: P numbers."""

    def small(row: int) -> np.ndarray:
        grey = np.asarray(images[row], dtype=np.float32).mean(2)
        return cv2.resize(grey, (COARSE, COARSE), interpolation=cv2.INTER_AREA)

    cells = {row: small(row) for row in np.unique(pairs[["a", "b"]])}
    return np.array([float(((cells[a] - cells[b]) ** 2).mean()) for a, b in zip(pairs.a, pairs.b, strict=True)])


def group_pairs(pairs: pd.DataFrame, identity: pd.Series, group: pd.Series, seed: int) -> pd.DataFrame:
    """Pairs of people of the same group, for fairness: columns a, b, same, group; none where nobody is labelled.

    Where all images are of one group (RFW) they are the given pairs. Otherwise every genuine pair, and inside each
    group as many impostor pairs at random. identity and group are by row of the store.
    """
    labels = group.reindex(np.unique(pairs[["a", "b"]]))
    labels = labels[labels != ""]
    if labels.empty:
        return pd.DataFrame({"a": [], "b": [], "same": [], "group": []}).astype({"a": int, "b": int, "same": bool})
    if labels.nunique() == 1:
        return pairs[["a", "b", "same"]].assign(group=labels.iloc[0])
    random = np.random.default_rng(seed)
    frames = []
    for name, rows in labels.groupby(labels):
        crossing = pd.DataFrame(list(combinations(rows.index, 2)), columns=["a", "b"])
        crossing["same"] = crossing.a.map(identity).to_numpy() == crossing.b.map(identity).to_numpy()
        genuine, impostors = crossing[crossing.same], crossing[~crossing.same]
        n = min(len(genuine), len(impostors))
        drawn = impostors.iloc[np.sort(random.choice(len(impostors), n, replace=False))]
        frames.append(pd.concat([genuine, drawn]).assign(group=name))
    return pd.concat(frames, ignore_index=True)
