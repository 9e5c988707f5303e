"""The paper's ablation (Table 3), and what token-specific codebooks gain over a global one of as many bits (A.2)."""

from typing import Any

import pandas as pd

from stscq.evaluation.published import published_rows
from stscq.params import TOKENIZERS
from stscq.report.collect import IDENTITY
from stscq.report.render import Table
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import BASELINE_NOTE, PAIRED_NOTE, SEEDS_NOTE, measured, rows_of, versus

EQUAL_BITS = 0.01
"""Relative difference below which two codecs cost the same; a switchable one pays log2 M bits for its group."""


def ablation(s: RunSummary) -> Table:
    """The paper's rows of each backbone and size that has token-specific groups of both trainings; then the paper's."""
    faces = s.faces()[s.faces().selection == "nn"]
    switchable = faces[faces.method == "switchable"]
    both = switchable[switchable.groupby(["backbone", "M", "K"]).training.transform("nunique") == 2]
    rows = [
        {
            "backbone": run.backbone, "row": number, "groups": row.M, "entries": row.K,
            "token_specific": row.method == "switchable", "training": row.training, "bpp": row.bpp,
            **measured(s, run, IDENTITY), **versus(s, run, "nn_trained"),
        }
        for (backbone, M, K), _ in both.groupby(["backbone", "M", "K"], sort=False)
        for number, mine in enumerate(ablation_rows(faces[faces.backbone == backbone], M, K))
        for run, row in rows_of(mine)
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
        "0: one codebook of as many entries (ours compute-matched); 1: switchable token-shared codebooks; 2 and 3: "
        "switchable token-specific ones, trained with the group of least error (nn) or the router's (router). All with "
        "selection nn.",
    ]
    return Table("ablation", "What each step adds", pd.DataFrame(rows), notes)


def ablation_rows(runs: pd.DataFrame, M: Any, K: Any) -> list[pd.DataFrame]:
    """Those runs of a backbone that are the paper's rows 0 to 3, for groups of M x K; none where one was not run."""
    same = (runs.M == M) & (runs.K == K)
    return [
        runs[(runs.method == "global") & (runs.K == K)],
        runs[same & (runs.method == "token_shared")],
        *(runs[same & (runs.method == "switchable") & (runs.training == training)] for training in ("nn", "router")),
    ]


def stages(s: RunSummary) -> Table:
    """Both tokenizers, and every way of training codebooks on the fine-tuned one."""
    faces = s.faces()[s.faces().selection == "nn"]
    of_stage = faces.method.map(STAGES.get)
    shown = faces[faces.method.isin(TOKENIZERS) | faces.published_M.notna() | (faces.method == "token_shared")]
    rows = [
        {
            "backbone": run.backbone, "stage": STAGES[row.method], "groups": row.M, "entries": row.K,
            "training": row.training, "bpp": row.bpp, **measured(s, run, IDENTITY), **versus(s, run, "pretrained"),
            **versus(s, run, "global"), **versus(s, run, "token_shared"),
        }
        for run, row in rows_of(shown.assign(of_stage=of_stage).sort_values(["of_stage"], kind="stable"))
    ]  # fmt: skip
    frame = pd.DataFrame(rows).sort_values("backbone", kind="stable") if rows else pd.DataFrame()
    notes = [SEEDS_NOTE, PAIRED_NOTE, BASELINE_NOTE]
    return Table("stages", "What each stage adds", frame, notes)


STAGES = {
    "pretrained": "0 pretrained tokenizer",
    "fine_tuned": "1 fine-tuned tokenizer",
    "global": "2 one codebook, compute-matched",
    "token_shared": "3 switchable, token-shared",
    "token_specific": "4 token-specific",
    "switchable": "5 switchable, token-specific",
}
"""Methods in the order of training; the number orders the table."""


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
