"""The paper's ablation (Table 3), and what token-specific codebooks gain over a global one of as many bits (A.2)."""

import pandas as pd

from stscq.evaluation.published import published_rows
from stscq.report.collect import IDENTITY
from stscq.report.render import Table
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import PAIRED_NOTE, SEEDS_NOTE, measured, rows_of, versus

EQUAL_BITS = 0.01
"""Relative difference below which two codecs cost the same; a switchable one pays log2 M bits for its group."""
ROW_OF_TRAINING = {"nn": 2, "router": 3}
"""The paper's numbers of its two rows with token-specific switchable codebooks."""


def ablation(s: RunSummary) -> Table:
    """Our two token-specific rows per backbone and size that has both, then the paper's four."""
    faces = s.faces()
    switchable = faces[(faces.method == "switchable") & (faces.selection == "nn")]
    both = switchable.groupby(["backbone", "M", "K"]).training.transform("nunique") == 2
    rows = [
        {
            "backbone": run.backbone, "row": ROW_OF_TRAINING[row.training], "groups": row.M, "entries": row.K,
            "token_specific": True, "training": row.training, "bpp": row.bpp,
            **measured(s, run, IDENTITY), **versus(s, run, "nn_trained"),
        }
        for run, row in rows_of(switchable[both])
    ]  # fmt: skip
    rows += [
        {
            "backbone": "titok_s", "row": row["row"], "groups": row["groups"], "entries": 1024,
            "token_specific": row["token_specific"], "training": row["training"],
            "published_mean_acc": row["mean_acc"], "published_ids": row["ids"], "published_bpp": row["bpp"],
        }
        for row in published_rows("ablation").to_dict("records")
    ]  # fmt: skip
    notes = [
        SEEDS_NOTE,
        "0: one original codebook; 1: switchable token-shared codebooks (no profile trains them yet); 2 and 3: "
        "switchable token-specific ones, trained with the group of least error (nn) or the router's (router). All with "
        "selection nn.",
    ]
    return Table("ablation", "What each step adds", pd.DataFrame(rows), notes)


def rate_gain(s: RunSummary) -> Table:
    """Each codec less the compute-matched global baseline, where both cost as many bits; then the paper's rows."""
    faces = s.faces()
    bits = faces[faces.method == "global"].groupby("backbone").bits.first()
    rows = [
        {
            "backbone": run.backbone, "method": row.method, "groups": row.M, "entries": row.K, "bpp": row.bpp,
            **versus(s, run, "global"),
        }
        for run, row in rows_of(faces[faces.method.isin(["token_specific", "switchable"]) & (faces.selection == "nn")])
        if run.backbone in bits and abs(row.bits / bits[run.backbone] - 1) < EQUAL_BITS
    ]  # fmt: skip
    rows += [
        {
            "backbone": "titok_s", "method": "switchable", "published_bpp": row["bpp"],
            "published_mean_acc_gain": row["mean_acc_gain"], "published_ids_gain": row["ids_gain"],
        }
        for row in published_rows("rate_gain").to_dict("records")
    ]  # fmt: skip
    return Table("rate_gain", "Gain over a global codebook of as many bits", pd.DataFrame(rows), [PAIRED_NOTE])
