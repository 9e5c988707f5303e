"""Whether the groups of switchable codebooks are copies of each other."""

import pandas as pd

from stscq.report.render import Table
from stscq.report.summary import RunSummary

MEASURES = [
    *("matched_distance", "least_matched_distance", "copies", "groups_used", "effective_groups", "distinct_groups"),
    *("second_best_cost", "information_bits", "information_by_chance", "group_bits"),
]


def redundancy(s: RunSummary) -> Table:
    """A row a switchable codec: means over seeds."""
    title = "Are the groups redundant?"
    found = s.frame("redundancy.csv")
    if found.empty:
        return Table("redundancy", title, pd.DataFrame(), [])
    keys = ["backbone", "variant", "groups", "entries"]
    frame = found.groupby(keys, sort=False)[MEASURES].mean().reset_index()
    notes = [
        "Selection nn, test images, means over seeds; of more than 16 groups the most used are matched. "
        "matched_distance: of entries of two groups, matched one to one "
        "for each token, mean over all pairs of groups, in units of the distance of an entry to its nearest neighbour "
        "in its own codebook; least_: of the most similar pair; copies: pairs below 0.05.",
        "effective_groups: exponential of the entropy of how often groups are used; distinct_groups: the same where "
        "similar groups count as one (Leinster and Cobbold's diversity of order 1, similarity exp(-matched distance)).",
        "second_best_cost: how much an image's error would grow in its second best group, as a share of its error.",
        "information_bits: mutual information of an image's group and its person, of people with several images; "
        "information_by_chance: the same with groups dealt anew among images; group_bits: entropy of the group, the "
        "most that it could be.",
    ]
    return Table("redundancy", title, frame, notes, digits=3)
