"""What training left beside its weights, for stscq.report.summarise: curves, and how many entries each token got."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from stscq.data.sensitivity import read_sensitivity
from stscq.files import read_log
from stscq.params import taught_by_judge
from stscq.quantization.allocation import allocate, total_bits
from stscq.report.collect import Evaluations

TERMS = {"stage1_codebooks": "codebook", "stage2": "codebook", "stage3": "loss"}
"""What the curve of a stage shows: its loss, but where the router's terms change with M, the codebooks'."""


def curves(e: Evaluations, models: Path) -> list[dict[str, Any]]:
    """The training curves: rows of backbone, stage, variant, seed, step, value."""
    rows = []
    for backbone, variants in e.variants.items():
        for stage, term in TERMS.items():
            for variant, v in variants.items():
                if "effort" in v or (taught_by_judge(v) and stage != "stage3"):
                    continue  # those of its twin
                for seed in e.seeds:
                    name = f"{v['M']}x{v['K']}_{v['training']}" if stage == "stage1_codebooks" else variant
                    folder = models / backbone / stage / name / f"seed{seed}"
                    where = {"backbone": backbone, "stage": stage, "variant": variant, "seed": seed}
                    rows += [
                        {**where, "step": line["step"], "value": line[term]} for line in read_log(folder / "log.jsonl")
                    ]
    return rows


ALLOCATION = ["backbone", "variant", "seed", "token", "entries", "sensitivity"]


def allocations(e: Evaluations, models: Path) -> Iterator[dict[str, Any]]:
    """A row a token of the codebooks of unequal size: K_j and w_j."""
    for backbone, variants in e.variants.items():
        for variant, seed in product(
            (n for n, v in variants.items() if "allocation" in v and "effort" not in v), e.seeds
        ):
            v = variants[variant]
            w, errors = read_sensitivity(models / backbone / "sensitivity" / f"seed{seed}" / "sensitivity.json")
            bits = total_bits(v["allocation"].get("bits"), len(w), v["K"])
            K_j = allocate(errors, w, v["allocation"]["power"], bits, v["M"])
            for token, (entries, own) in enumerate(zip(K_j, w, strict=True)):
                where = {"backbone": backbone, "variant": variant, "seed": seed, "token": token}
                yield {**where, "entries": entries, "sensitivity": own}
