"""Do the published numbers agree with each other? Means, spreads, rates and sizes, computed again from their parts."""

from collections.abc import Iterator, Mapping
from math import log2
from statistics import fmean, pstdev
from typing import Any, NamedTuple

from stscq.evaluation.published import ENTRIES, published_rows

PIXELS = 256 * 256
UNPRINTED_K = {"ibq": 8192}
"""Entries of the global codebook where a table does not print them."""
D = {"maskgit_vqgan": 256, "titok_s": 12, "titok_l": 12}
TOKENS = {"maskgit_vqgan": 256, "titok_s": 128, "titok_l": 32}
LFW_IMAGES = 12000
"""Two of each of its 6000 pairs."""
DATASETS = ("lfw", "cfp_fp", "agedb", "cplfw", "calfw")
GROUPS = ("african", "asian", "caucasian", "indian")


class Check(NamedTuple):
    """row: which one. sum: the arithmetic, written out. tolerance: what rounding of the parts allows."""

    block: str
    row: str
    sum: str
    printed: float
    computed: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return abs(self.printed - self.computed) <= self.tolerance


def checks() -> list[Check]:
    return [*means(), *spreads(), *rates(), *encoders(), *utilisation()]


def means() -> Iterator[Check]:
    """A row's mean over benchmarks, or over groups of people."""
    for block, parts, mean, digits in (
        ("per_dataset_accuracy", DATASETS, "mean", 2),
        ("per_dataset_ids", DATASETS, "mean", 4),
        ("dataset_utilisation", DATASETS, "mean", 2),
        ("fairness", GROUPS, "mean_acc", 2),
    ):
        for row in rows(block):
            values = [row[part] for part in parts]
            written = f"({' + '.join(f'{v:.{digits}f}' for v in values)}) / {len(values)}"
            yield Check(block, name(row), written, row[mean], fmean(values), 1.01 * 10**-digits)


def spreads() -> Iterator[Check]:
    for row in rows("fairness"):
        values = [row[group] for group in GROUPS]
        written = f"population standard deviation of {', '.join(f'{v:.2f}' for v in values)}"
        yield Check("fairness", name(row), written, row["std"], pstdev(values), 0.0101)


def rates() -> Iterator[Check]:
    """T log2 K + log2 M bits; over the pixels, bits a pixel."""
    for block in ("main", "seeds", "dataset_utilisation", "ibq"):
        for row in rows(block):
            T, M = row["tokens"], row.get("groups", 1)
            K = row.get("entries") or UNPRINTED_K[row["backbone"]]
            bits = T * log2(K) + log2(M)
            written = f"({T} * log2({K}) + log2({M})) / {PIXELS}"
            yield Check(block, name(row), written, row["bpp"], bits / PIXELS, 0.000051)
            if "storage_bits" in row:
                yield Check(block, name(row), f"{T} * log2({K}) + log2({M})", row["storage_bits"], bits, 0.5)


def encoders() -> Iterator[Check]:
    """Storage less the codebooks that a sender holds leaves the encoder, which is one for all rows of a backbone."""
    known: dict[str, float] = {}
    for row in rows("cost"):
        backbone, M = row["backbone"], row["groups"]
        T = 1 if row["method"] == "global" else TOKENS[backbone]
        held = 1 if row["method"] == "router" else M
        codebooks = 4 * held * T * ENTRIES[M] * D[backbone] / 2**20
        expected = known.setdefault(backbone, row["storage_mib"] - codebooks)  # the global row comes first
        written = f"{expected:.2f} (encoder, by the global row) + {codebooks:.2f} (codebooks)"
        yield Check("cost", name(row), written, row["storage_mib"], expected + codebooks, 0.5)


def utilisation() -> Iterator[Check]:
    """Each image uses one entry of each token: N images use at most N of the M K entries that a token has.

    Shares above that count an entry as used when any token used it.
    """
    for row in rows("dataset_utilisation"):
        if row["groups"] > 1:
            entries = row["groups"] * row["entries"]
            bound = min(100.0, 100 * LFW_IMAGES / entries)
            written = f"at most {LFW_IMAGES} / ({row['groups']} * {row['entries']}) of a token's entries, on lfw"
            yield Check("dataset_utilisation", name(row), written, row["lfw"], bound, max(0.0, bound - row["lfw"]))


def rows(block: str) -> list[Mapping[Any, Any]]:
    return list(published_rows(block).to_dict("records"))


def name(row: Mapping[Any, Any]) -> str:
    """backbone, method and size of a row, as far as it has them."""
    words = [str(row[key]) for key in ("backbone", "method") if key in row]
    size = f"{row['groups']} codebook group{'s' if row['groups'] > 1 else ''}" if "groups" in row else ""
    return ", ".join([*words, size] if size else words)
