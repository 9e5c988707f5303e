"""What each published row costs at the edge, counted from our modules, beside what the paper prints.

python -m stscq.evaluation.count_cost --models '{"titok_s": {...}}' --image-size 256 --rank 16 --out data/demo/cost
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from stscq.cli_tools import run
from stscq.evaluation.cost import CodingScheme, count_macs, count_parameters, edge_int8_mib, edge_mib, on_meta
from stscq.evaluation.published import ENTRIES, published_rows
from stscq.files import write_atomically

ERRATUM = 98.70 - 90.69
"""MiB: MaskGIT-VQGAN's encoder in the paper's token-specific rows, and in its global row, which is right."""


def published_scheme(published: Mapping[Any, Any], model: Mapping[str, Any], rank: int) -> CodingScheme:
    """What a published row does, with a tokenizer of these sizes."""
    M, selection = published["groups"], "router" if published["method"] == "router" else "nn"
    return CodingScheme(model, M, ENTRIES[M], published["method"] == "global", selection, rank)


def key_columns(published: Mapping[Any, Any]) -> dict[str, Any]:
    """What tells one row from another, in counted and in measured costs."""
    M = published["groups"]
    return {"backbone": published["backbone"], "method": published["method"], "groups_x_entries": f"{M} x {ENTRIES[M]}"}


def cost_row(published: Mapping[Any, Any], scheme: CodingScheme) -> dict[str, Any]:
    tokenizer = on_meta(scheme.model)
    macs, parameters = count_macs(tokenizer, scheme.model["image_size"]), count_parameters(tokenizer, scheme)
    storage = edge_mib(parameters, scheme)
    erratum = ERRATUM if published["backbone"] == "maskgit_vqgan" and not scheme.shared else 0.0
    return {
        **key_columns(published),
        "storage_mib": storage,
        "published_storage_mib": published["storage_mib"],
        "corrected_storage_mib": published["storage_mib"] - erratum,
        "storage_difference_percent": 100 * (storage / (published["storage_mib"] - erratum) - 1),
        "int8_storage_mib": edge_int8_mib(parameters, scheme, tokenizer),
        "encoder_giga_macs": macs.encoder / 1e9,
        "giga_macs": (macs.encoder + macs.decoder) / 1e9,
        "published_giga_macs": published["giga_macs"],
        **{f"{part}_parameters": number for part, number in parameters._asdict().items()},
    }


def count(models: Mapping[str, Any], image_size: int, rank: int) -> pd.DataFrame:
    """A row for each published one. MODELS: the published sizes of each backbone (the `model` of config/paper.yaml)."""
    rows = published_rows("cost").to_dict("records")
    sized = [{**models[row["backbone"]], "image_size": image_size} for row in rows]
    return pd.DataFrame(
        [cost_row(row, published_scheme(row, model, rank)) for row, model in zip(rows, sized, strict=True)]
    )


def main(models: str, image_size: int, rank: int, out: Path) -> None:
    """Writes OUT/cost.csv, from which stscq.report.tables.costs makes the table. MODELS is JSON; RANK the router's."""
    write_atomically(out / "cost.csv", count(json.loads(models), image_size, rank).to_csv(index=False))


if __name__ == "__main__":
    run(main)
