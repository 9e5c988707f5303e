"""Questions of the paper's reviewers, tried on frozen latents (docs/reviewers.md)."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from stscq.bits import payload_bits
from stscq.evaluation.statistics import Paired
from stscq.report.render import Table, paired_columns
from stscq.report.summary import RunSummary

SETTING_NOTE = (
    "Encoder and decoder are those of the fine-tuned tokenizer for all rows (no stage 3), so accuracies are below "
    "those of main. All rows: as many steps (stages 1 and 2 of params.yaml) on the same batches of the same latents, "
    "groups by NN, first seed, decoded from the bytes."
)
VERSUS_NOTE = (
    "`_vs_`: paired difference to the row named, over the same test pairs or images [95 % bootstrap interval over "
    "people], p two-sided."
)
ERROR_NOTE = "error: squared error of the latents as a share of their variance over images, token by token."
IDENTITY = ("mean_acc", "ids")
NAMES = {"balance": "L_ent", "confidence": "L_dec", "quality": "L_qua"}
"""Of the three router losses (RouterLossWeights), as in the paper."""


def quantisers(s: RunSummary) -> Table:
    """A row a quantiser, and what routing each token would cost."""
    columns = ["backbone", "quantiser", "groups", "entries", "bits", "coded_bytes", "storage_kib", "error", "mean_acc"]
    frame = shown(s, "quantisers", [*columns, "ids", "ids_centred", "psnr"], "switchable")
    if not frame.empty:
        frame = pd.concat([frame, *(routed_tokens(part) for _, part in frame.groupby("backbone", sort=False))])
    notes = [
        SETTING_NOTE,
        "residual_vq, product_vq, fsq, lfq: of the library vector-quantize-pytorch, shared by all tokens: two parts of "
        "sqrt(K) entries (residual, product), dimensions of four levels (fsq), log2 K signs (lfq, spherical), so "
        "T log2 K bits exactly; settings chosen by the error on training people held out. M groups take log2 M more.",
        "token_shared is a mixture of experts whose experts are codebooks and whose gate is the router. routed_tokens: "
        "a group for each token, by arithmetic alone: T (log2 K + log2 M) bits.",
        "coded_bytes: mean payload, range-coded by the codec's symbol tables (no context of earlier tokens) where that "
        "is shorter than fixed length. storage_kib: codebooks and linear maps in float32. " + ERROR_NOTE,
        VERSUS_NOTE,
    ]
    return Table("quantisers", "Other quantisers of as many bits", frame, notes, digits=3)


def router_losses(s: RunSummary) -> Table:
    """A row a subset of the three."""
    measures = ["groups_used", "router_groups", "use_bits", "doubt_bits", "agreement", "regret"]
    frame = shown(s, "router_losses", ["backbone", *NAMES, *measures, "error", "mean_acc", "ids"], "all")
    notes = [
        SETTING_NOTE,
        "L_ent (Eq. 8), L_dec (Eq. 9), L_qua (Eq. 10): on, with the weights of params.yaml, or off. On test images: "
        "groups_used by NN, router_groups by the router; use_bits: entropy of the router's mean output, doubt_bits: "
        "its mean entropy an image; agreement: share of images for which router and NN choose one group; regret: by "
        "how much the error of the router's group is above that of NN's.",
        ERROR_NOTE + " It, mean_acc and ids are of groups by NN.",
        VERSUS_NOTE,
    ]
    on = {name: frame[name].map({True: "on", False: "off"}) for name in NAMES if not frame.empty}
    shown_frame = frame.assign(**on).rename(columns=NAMES)
    return Table("router_losses", "The three losses of the router", shown_frame, notes, digits=3)


def router_training(s: RunSummary) -> Table:
    """A row a subset of the losses and observed step: trained by the router, and what NN would have chosen."""
    found = s.frame("trial_curves.csv")
    title = "Trained by the router, chosen by NN: agreement over the steps"
    if found.empty:
        return Table("router_training", title, pd.DataFrame(), [])
    part = found[found.question == "router_losses"].drop(columns=["question", "use_bits"])
    keys = ["backbone", "trial", "step"]
    frame = part.groupby(keys, sort=False).mean().reset_index().drop(columns="seed")
    frame = frame.astype({"step": int}).rename(columns={"trial": "losses"})
    for name, printed in NAMES.items():
        frame["losses"] = frame.losses.str.replace(name, printed)
    notes = [
        "On 1,024 training faces as they are, before the step named (the last: after all). error_router, error_nn: "
        "mean distance a token to the entry of the group that the router, or NN, chooses; agreement, regret, "
        "router_groups, doubt_bits: as in router_losses. Token-specific codebooks (stage 2) start where "
        "stage 1's steps end.",
    ]
    return Table("router_training", title, frame, notes, digits=3)


def entries(s: RunSummary) -> Table:
    """A row a size of codebook, of one group and of several."""
    measures = ["effective_symbols", "symbol_bits", "used", "spread", "error", "mean_acc", "ids", "psnr"]
    frame = shown(s, "entries", ["backbone", "groups", "entries", "bits", "coded_bytes", *measures], "one_group")
    notes = [
        SETTING_NOTE,
        "Token-specific codebooks. A symbol is a (group, entry). effective_symbols: 2^H of how often a token takes "
        "each of its symbols over the test images, mean over tokens; symbol_bits: H; used: share of its symbols that "
        "some test image takes; spread: variance over images of the quantised tokens as a share of that of "
        "the latents.",
        "Left out: sizes of which a token has more symbols than there are training faces. " + ERROR_NOTE,
        "one_group: the row of as many entries and one group, whose bits are log2 M fewer. " + VERSUS_NOTE,
    ]
    return Table("entries", "Codebooks of few entries: what tokens can still say", frame, notes, digits=3)


def shown(s: RunSummary, question: str, columns: Sequence[str], reference: str) -> pd.DataFrame:
    """The trials of a question, means over seeds, with their paired differences, as MEASURE_vs_REFERENCE."""
    found = s.frame("trials.csv")
    found = found if found.empty else found[found.question == question]
    if found.empty:
        return pd.DataFrame()
    compared = s.frame("trial_comparisons.csv")
    compared = compared[compared.question == question]
    rows: list[dict[str, Any]] = []
    for (backbone, trial), part in found.groupby(["backbone", "trial"], sort=False):
        row = {name: mean_or_first(part[name]) for name in columns}
        its = compared[(compared.backbone == backbone) & (compared.trial == trial)].set_index("measure")
        for measure in IDENTITY:
            name = f"{measure}_vs_{reference}"
            paired = Paired(*its.loc[measure, list(Paired._fields)]) if measure in its.index else NOTHING
            row |= paired_columns(name, paired)
        rows.append(row)
    whole = {name: "Int64" for name in ("groups", "entries", "bits", "groups_used", "router_groups") if name in columns}
    return pd.DataFrame(rows).astype(whole)


NOTHING = Paired(float("nan"), float("nan"), float("nan"), float("nan"), 0)


def mean_or_first(values: pd.Series) -> Any:
    """Of a number over seeds, or of what is the same in all of them."""
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return values.mean() if numeric else values.iloc[0]


def routed_tokens(part: pd.DataFrame) -> pd.DataFrame:
    """The row of a group for each token, of the switchable codebooks of one backbone."""
    row = part[part.quantiser == "switchable"].iloc[0]
    M, K = int(row.groups), int(row.entries)
    T = (int(row.bits) - payload_bits(0, K, M)) // payload_bits(1, K, 1)
    cells = {"backbone": row.backbone, "quantiser": "routed_tokens", "groups": M, "entries": K}
    return pd.DataFrame([{**cells, "bits": payload_bits(T, M * K, 1)}]).astype({"bits": "Int64"})
