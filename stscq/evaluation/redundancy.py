"""Are the codebook groups of a codec copies of each other, and what would be lost without them?

python -m stscq.evaluation.redundancy --bundle models/lfw/titok_s/bundle/switchable_16x64/seed1 ...

Four readings, for a reader who asks whether M groups hold M groups' worth (docs/reviewers.md).
Axes: N images, M groups, T tokens, S codebooks a group, K entries, d channels.
"""

import json
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.device import full_precision, own_device
from stscq.evaluation.judging import open_image_set
from stscq.files import write_atomically
from stscq.quantization.search import group_errors, normalise

COPIES = 0.05
"""Groups whose matched entries are nearer than this share of the distance between neighbours inside a codebook."""
GROUPS, TOKENS, STEPS = 16, 32, 1 << 29
"""Groups that are matched, at most (the most used ones), and codebooks of each, evenly spread: fewer of many entries,
for matching K entries takes some K^3 steps."""
SHUFFLES = 200


def main(store: Path, original: Path, bundle: Path, out: Path, judge: str) -> None:
    """Writes OUT/metrics.json. Groups are those of least error (nn) on the images of ORIGINAL's pairs in STORE."""
    faces = open_image_set(store, original, judge)
    codec = Codec.load(bundle, own_device())
    metric, codebooks = codec.encoder.metric, codec.all_codebooks
    z_e = codec.latents(faces.images, faces.rows)
    with full_precision():
        errors = group_errors(z_e, codebooks, metric).cpu().numpy()
    group = codec.quantise(faces.images, "nn", faces.rows, z_e).group.numpy()
    used = np.bincount(group, minlength=len(codebooks)) / len(group)
    most = np.sort(np.argsort(-used, kind="stable")[:GROUPS])
    matched = matched_distances(normalise(codebooks[torch.from_numpy(most)], metric).cpu())
    information, by_chance = shared_information(group, faces.identity, SHUFFLES)
    metrics = {
        "images": len(group),
        "matched_distance": float(matched[np.triu_indices(len(matched), 1)].mean()),
        "least_matched_distance": float(matched[np.triu_indices(len(matched), 1)].min()),
        "copies": len(copies(matched)),
        "groups_used": int((used > 0).sum()),
        "effective_groups": effective_number(used),
        "matched_groups": len(most),
        "distinct_groups": effective_number(used[most] / used[most].sum(), np.exp(-matched)),
        "second_best_cost": second_best_cost(errors),
        "information_bits": information,
        "information_by_chance": by_chance,
        "group_bits": entropy_bits(used),
    }
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def matched_distances(codebooks: Tensor) -> np.ndarray:
    """M x M: the mean distance of matched entries of two groups' codebooks (M x S x K x d), 0 for copies.

    In units of the mean distance of an entry to its nearest neighbour in its own codebook. Entries are matched one to
    one, token by token, with the least total distance.
    """
    M, S, K, _ = codebooks.shape
    tokens = np.linspace(0, S - 1, min(S, TOKENS, max(4, STEPS // K**3))).astype(int)
    apart = torch.cdist(codebooks[:, tokens], codebooks[:, tokens])  # M x S x K x K
    apart.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    unit = float(apart.amin(-1).mean()) if K > 1 else float(codebooks.norm(dim=-1).mean())
    matched = np.zeros((M, M))
    for a in range(M):
        for b in range(a + 1, M):
            costs = torch.cdist(codebooks[a, tokens], codebooks[b, tokens]).numpy()
            matched[a, b] = matched[b, a] = np.mean([cost[linear_sum_assignment(cost)].mean() for cost in costs])
    return matched / unit


def copies(matched: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of groups that are copies of each other but for COPIES. matched: M x M, see `matched_distances`."""
    a, b = np.nonzero(np.triu(matched < COPIES, 1))
    return list(zip(a.tolist(), b.tolist(), strict=True))


def effective_number(used: np.ndarray, similarity: np.ndarray | None = None) -> float:
    """How many equally used, wholly different groups would be as diverse: the exponential of the shares' entropy.

    used: M shares of sum 1; similarity: M x M in [0, 1], 1 for copies, which then count as one (Leinster and Cobbold,
    2012, of order 1); None where all groups are as different as can be.
    """
    ordinary = used if similarity is None else similarity @ used
    some = used > 0
    return float(np.exp(-(used[some] * np.log(ordinary[some])).sum()))


def second_best_cost(errors: np.ndarray) -> float:
    """By how much an image's error would grow in its second best group, in its own error's units: the mean over images.

    errors: N x M, mean distances a token, as `group_errors` has them: never negative.
    """
    least = np.partition(errors, 1, axis=1)[:, :2]
    return float((least[:, 1] / np.maximum(least[:, 0], 1e-12) - 1).mean())


def shared_information(group: np.ndarray, identity: np.ndarray, shuffles: int, seed: int = 0) -> tuple[float, float]:
    """Mutual information of an image's group and its person in bits, of people with several images; and its mean when
    groups are dealt anew among the images: what so few images a person show where there is nothing."""
    _, person, count = np.unique(identity, return_inverse=True, return_counts=True)
    several = count[person] > 1
    group, person = group[several], np.unique(person[several], return_inverse=True)[1]
    if not len(group):
        return 0.0, 0.0
    random = np.random.default_rng(seed)
    by_chance = [mutual_information(random.permutation(group), person) for _ in range(shuffles)]
    return mutual_information(group, person), float(np.mean(by_chance))


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """In bits, of the joint frequencies of two lists of numbers."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    return entropy_bits(joint.sum(0)) + entropy_bits(joint.sum(1)) - entropy_bits(joint.ravel())


def entropy_bits(shares: np.ndarray) -> float:
    """Of shares that sum to 1."""
    some = shares[shares > 0]
    return float(-(some * np.log2(some)).sum())


if __name__ == "__main__":
    run(main)
