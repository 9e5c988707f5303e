"""What each published row costs at the edge, counted from our modules, beside what the paper prints.

python -m stscq.report.cost --models '{"titok_s": {"family": "titok", ...}}' --image-size 256 --rank 16 --out ...
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stscq.cli_tools import run
from stscq.evaluation.cost import count_macs, edge_mib, on_meta
from stscq.report.render import Table, write_table
from stscq.report.tables import published_rows

ENCODER_AS_PRINTED, ENCODER = 98.70, 90.69
"""MiB of MaskGIT-VQGAN's encoder in the paper's token-specific rows, and in its global row, which is right."""
ENTRIES = {1: 4096, 16: 1024, 256: 256}
"""Entries a codebook of the published rows, by their number of groups."""


def cost_row(published: Mapping[Any, Any], model: Mapping[str, Any], image_size: int, rank: int) -> dict[str, Any]:
    shared = published["method"] == "global"
    M, selection = published["codebooks"], "cr" if published["method"] == "CR" else "nn"
    tokenizer = on_meta({**model, "image_size": image_size})
    macs = count_macs(tokenizer, image_size)
    storage = edge_mib(tokenizer, M, ENTRIES[M], shared, selection, rank)
    erratum = ENCODER_AS_PRINTED - ENCODER if published["backbone"] == "maskgit_vqgan" and not shared else 0.0
    return {
        "backbone": published["backbone"],
        "method": published["method"],
        "codebooks": f"{M} x {ENTRIES[M]}",
        "storage_mib": storage,
        "published_storage_mib": published["storage_mib"],
        "corrected_storage_mib": published["storage_mib"] - erratum,
        "storage_difference_percent": 100 * (storage / (published["storage_mib"] - erratum) - 1),
        "encoder_giga_macs": macs.encoder / 1e9,
        "giga_macs": (macs.encoder + macs.decoder) / 1e9,
        "published_giga_macs": published["giga_macs"],
    }


def cost_table(models: Mapping[str, Any], image_size: int, rank: int) -> Table:
    """MODELS: the published sizes of each backbone (the `model` of config/paper.yaml)."""
    rows = published_rows("cost").to_dict("records")
    frame = pd.DataFrame([cost_row(row, models[row["backbone"]], image_size, rank) for row in rows])
    notes = [
        f"Counted from our modules at published size and {image_size} x {image_size} pixels; no weights are needed.",
        "storage: float32 MiB of encoder, codebooks that are searched (NN: all groups, CR: one) and router.",
        f"corrected: the paper's token-specific MaskGIT-VQGAN rows count an encoder of {ENCODER_AS_PRINTED} MiB, where "
        f"its global row, and our count, have {ENCODER}.",
        "MACs: multiply-accumulates of encoder and decoders for one image, attention included, codebook search apart. "
        "The paper's column is headed FLOPs; the public definitions give 157.6, 115.6 and 277.3 G, as ours do.",
    ]
    return Table("cost", "Cost at the edge, at published size", frame, notes)


def main(models: str, image_size: int, rank: int, out: Path) -> None:
    """Writes OUT/cost.csv and OUT/cost.md. MODELS is JSON; RANK the router's."""
    write_table(cost_table(json.loads(models), image_size, rank), out)


if __name__ == "__main__":
    run(main)
