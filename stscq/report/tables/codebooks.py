"""Tables about the codebooks: how groups are selected, how many there are, and how much of them is used."""

from typing import Any

import pandas as pd

from stscq.evaluation.published import beside
from stscq.params import TOKENIZERS
from stscq.report.collect import IDENTITY
from stscq.report.render import Table, summary_columns
from stscq.report.summary import OWN_SET, RunSummary, of_run, spread_over
from stscq.report.tables.cells import SEEDS_NOTE, as_printed, mean_and_std, measured, rows_of, versus
from stscq.report.tables.identity import UTILISATION_NOTE, percent


def selection_at_inference(s: RunSummary) -> Table:
    rows = []
    for run, row in rows_of(s.faces()):
        if row.method != "switchable" or row.training != "router":
            continue
        ours = measured(s, run, IDENTITY)
        theirs = beside(
            ours, "selection_at_inference", ("mean_acc", "ids"), s.paper, backbone=run.backbone,
            selection=run.selection, groups=row.published_M, entries=row.published_K,
        )  # fmt: skip
        agreement = [100 * share for share in s.measured(run, "nn_router_agreement")]
        rows.append(
            {
                "backbone": run.backbone, "selection": run.selection, "groups": row.M,
                "entries": row.K, "bpp": row.bpp, **ours, **versus(s, run, "nn"),
                **mean_and_std("same_group_as_nn", agreement), **theirs,
            }
        )  # fmt: skip
    notes = [
        SEEDS_NOTE,
        "nn: the group of least error among all. router: the router's group, the only one in memory (the paper's CR). "
        "`_vs_nn`: paired difference of router to nn [95 % bootstrap interval over people], p two-sided. "
        "same_group_as_nn: % of images.",
    ]
    return Table("selection_at_inference", "Selecting the group at inference", pd.DataFrame(rows), notes)


def selection_in_training(s: RunSummary) -> Table:
    used = ("utilisation_all_entries", "utilisation_merged", "utilisation_bound", "groups_used")
    faces = s.faces()[s.faces().method == "switchable"]
    by_nn = faces[faces.training == "nn"]
    rows = []
    for run, row in rows_of(faces[faces.selection == "nn"]):
        pair = by_nn[(by_nn.backbone == run.backbone) & (by_nn.M == row.M) & (by_nn.K == row.K)]
        if pair.empty:
            continue
        ours = measured(s, run, IDENTITY)
        theirs = beside(
            ours, "selection_in_training", ("mean_acc", "ids", "mean_utilisation"), s.paper, backbone=run.backbone,
            selection=row.training, groups=row.published_M, entries=row.published_K,
        )  # fmt: skip
        rows.append(
            {
                "backbone": run.backbone, "training": row.training, "tokens": row.tokens, "groups": row.M,
                "entries": row.K, **ours, **percent(s, run, used), **versus(s, run, "nn_trained"), **theirs,
            }
        )  # fmt: skip
    notes = [
        SEEDS_NOTE,
        "Trained with the group of least error (nn) or the router's (router); both evaluated with selection nn. "
        "`_vs_nn_trained`: paired difference [95 % bootstrap interval over people], p two-sided.",
        UTILISATION_NOTE,
        "groups_used in % of M.",
    ]
    return Table("selection_in_training", "Selecting the group in training", pd.DataFrame(rows), notes)


def sweep_runs(s: RunSummary) -> pd.DataFrame:
    """Codecs of a backbone that differ in M alone: at least two numbers of groups at the same K; selection nn."""
    faces = s.faces()
    candidates = faces[
        faces.method.isin(["token_specific", "switchable"])
        & (faces.selection == "nn")
        & ((faces.training == "router") | (faces.M == 1))
    ]
    sizes = candidates.groupby(["backbone", "K"]).M.transform("nunique")
    return candidates[sizes > 1].sort_values(["backbone", "K", "M"], kind="stable")


def groups_sweep(s: RunSummary) -> Table:
    rows = []
    for run, row in rows_of(sweep_runs(s)):
        rows.append(
            {
                "backbone": run.backbone, "groups": row.M, "entries": row.K, "bits": row.bits, "bpp": row.bpp,
                **measured(s, run, (*IDENTITY, "psnr")),
                **percent(s, run, ("utilisation_all_entries", "utilisation_merged", "groups_used")),
                **versus(s, run, "one_group"),
            }
        )  # fmt: skip
    notes = [
        SEEDS_NOTE,
        "More groups at a fixed number of entries (supplementary A.4, which prints no numbers); all trained with a "
        "router but one group, which needs none; selection nn. `_vs_one_group`: paired difference to M = 1 "
        "[95 % bootstrap interval over people], p two-sided. Utilisation in %.",
    ]
    return Table("groups_sweep", "More groups at a fixed number of entries", pd.DataFrame(rows), notes)


def token_utilisation(s: RunSummary) -> Table:
    first = s.sets[0]
    tokens = s.frame("utilisation_tokens.parquet")
    tokens = tokens[tokens["set"] == first]
    rows = []
    for run, row in rows_of(s.faces()):
        if row.method not in ("global", "token_specific") or run.variant.startswith("groups_"):
            continue
        shares = [100 * part.share.to_numpy() for _, part in of_run(tokens, run).groupby("seed")]
        cells: dict[str, Any] = {}
        for name, of in (("min", min), ("max", max), ("mean", lambda x: float(x.mean())), ("std", spread_over)):
            cells |= summary_columns(name, [float(of(share)) for share in shares])
        where = {"method": row.method if run.backbone == "titok_s" else None}
        theirs = beside(cells, "token_utilisation", ("min", "max", "mean", "std"), s.paper, **where)
        rows.append({"backbone": run.backbone, "method": row.method, "bpp": row.bpp, **cells, **theirs})
    name = "our test people" if first == OWN_SET else first
    notes = [
        SEEDS_NOTE,
        f"On {name}: share (%) of the K entries that a token uses at least once; smallest, largest, mean and "
        "population standard deviation (std) over the tokens. The columns std_std, std_low and std_high are those of "
        "std over seeds. Published: titok_s on LFW.",
    ]
    return Table("token_utilisation", "Utilisation of each token's codebook", pd.DataFrame(rows), notes)


def dataset_utilisation(s: RunSummary) -> Table:
    rows = []
    for run, row in rows_of(s.faces()):
        if row.method in ("global", *TOKENIZERS) or run.selection == "router" or pd.isna(row.published_M):
            continue
        cells: dict[str, Any] = {}
        for one in s.sets:
            for measure, name in (("merged", one), ("all_entries", f"{one}_all_entries"), ("bound", f"{one}_bound")):
                values = s.measured(run, f"utilisation_{measure}", sets=[one])
                cells |= summary_columns(name, [100 * v for v in values] or [float("nan")])
        merged = s.measured(run, "utilisation_merged")
        cells |= summary_columns("mean", [100 * v for v in merged] or [float("nan")])
        printed = ("lfw", "cplfw", "cfp_fp", "agedb", "calfw", "mean")
        as_published = run.backbone == "titok_s" and (row.M == 1 or row.training == "router")
        where = {"groups": row.published_M if as_published else None}
        rows.append(
            {
                "backbone": run.backbone, "training": row.training, "bpp": row.bpp, "tokens": row.tokens,
                "groups": row.M, "entries": row.K, **cells,
                **beside(as_printed(cells, printed, s.sets), "dataset_utilisation", printed, s.paper, **where),
            }
        )  # fmt: skip
    notes = [
        SEEDS_NOTE,
        "Share (%) of the codebooks that the images of a set use. SET: of (group, entry) with tokens merged; "
        "SET_all_entries: of all (group, token, entry); SET_bound: what that many images can reach at most in the "
        "latter, N / (M K). The published figures are above what the second reading can reach, and near the first.",
    ]
    return Table("dataset_utilisation", "Utilisation of the whole codebook", pd.DataFrame(rows), notes)


def group_use(s: RunSummary) -> Table:
    """Which codebook groups serve which people (the paper's supplementary figure 2), as the router selects them."""
    people = s.frame("people.parquet")
    # Of one seed: the numbers of its groups mean nothing in another one.
    routed = people[(people.selection == "router") & (people.seed == people.seed.min())]
    index = ["backbone", "variant", "codebook_group"]
    total = routed.groupby(["backbone", "variant", "label"]).images.transform("sum")
    shares = routed.assign(share=100 * routed.images / total).pivot_table(
        index=index, columns="label", values="share", aggfunc="sum", fill_value=0.0
    )
    persons = routed.groupby(index).person.nunique().rename("people")
    frame = shares.rename(columns=lambda label: f"share_of_{label or 'unlabelled'}").join(persons).reset_index()
    notes = [
        "share_of_: of all test images of that group of people, the % for which the router selected this codebook "
        "group. people: how many different people it served. Codebook groups that served nobody are left out. Of the "
        "first seed: the groups of different seeds have nothing to do with each other.",
    ]
    return Table("group_use", "Which codebook groups serve which people", frame, notes)
