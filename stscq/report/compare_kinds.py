"""What the columns and rows of results tables are, for `stscq compare`: the one place that goes by their names.

A number that no list below knows is a result of training, and is compared by its spread over seeds.
"""

import re
from collections.abc import Mapping

DESIGN = {"groups", "entries", "tokens", "group", "seed", "number", "side", "step"}
"""Numbers that say what a row is."""
EXACT = re.compile(
    r"^(published|corrected|fixed|storage|int8|float32)_|^(bits|bpp|tokens|models|images_seen)$"
    r"|(^|_)(bound|macs|parameters)$"
)
"""Numbers that the parameters, the data or the paper decide: every machine has the same."""
MEASURED = re.compile(r"(^|_)(seconds?|ms|hours|peak|mem|memory)(_|$)")
MACHINE = {"machine", "device", "torch", "threads", "continued"}
"""Columns about the machine, not the method."""
VERDICTS = {"verdict", "best_classic"}
"""Texts that are results."""
EXPLAINED = {"why", "reason", "not_measured"}
"""Texts that only go with results."""
BEST_OF_RUN = re.compile(r"(best \w+) = \d+")
"""In a text that names a row: what was best in that run, and may be another in the next."""
ARBITRARY = {"codebook_group"}
"""Numbers that training hands out like names: group 3 of another run is another group. Such a table is not tested."""
FOLLOWING = re.compile(r"^(best_classic_bytes|where|ours_over_classic|ratio_low|ratio_high|at_most_a_fifth)$")
"""Of ours against classic codecs: which one is nearest, and how far; follows from file_bytes and mean_acc."""
UNTRAINED = {"original", "original_full_size", "mean_face"}
"""Methods without training."""
STATISTICS = ("_std", "_low", "_high", "_p")
BARE = ("std", "low", "high", "p")
"""In a table with one statistic a row, such as claims, its interval has bare names."""


def is_measured(column: str) -> bool:
    """Times, memory, machines; but not those that somebody published."""
    return not is_exact(column) and (bool(MEASURED.search(column)) or column in MACHINE)


def is_exact(column: str) -> bool:
    return bool(EXACT.search(column))


def follows(column: str, columns: Mapping[str, object] | list[str]) -> bool:
    """Not tested, as other columns of the same table say it all."""
    return ("codec" in columns or "best_classic" in columns) and bool(FOLLOWING.search(column))


def is_untrained(row: Mapping[str, str]) -> bool:
    """A row (column -> text) of what no training of ours went into: uncompressed images, a mean face, a classic codec.

    Such numbers follow from data, split and judge, so another processor changes no more than their last digits.
    """
    codec = row.get("codec", "")
    return row.get("method") in UNTRAINED or (bool(codec) and not codec.startswith("ours"))


def measure_of(column: str, row: Mapping[str, str]) -> tuple[str, int, int]:
    """(measure, how many of its values the column combines, seeds that each is a mean over; 0 for all seeds).

    ("mean_acc", 1, 0) of mean_acc; ("mean_acc", 2, 0) of mean_acc_vs_global, a difference of two methods, and of a
    statistic of claims that begins with its name; ("mean_acc", 1, 1) of mean_acc_seed2.
    """
    if found := re.fullmatch(r"(.+)_vs_\w+", column):
        return found[1], 2, 0
    if found := re.fullmatch(r"(.+)_seed\d+", column):
        return found[1], 1, 1
    if column in ("value", "difference") and (words := re.match(r"\w+", row.get("statistic", ""))):
        return words[0], 2, 0
    return column, 1, 0
