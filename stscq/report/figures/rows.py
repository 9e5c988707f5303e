"""Which rows figures show, and in which words: tidy frames for seaborn."""

import numpy as np
import pandas as pd

from stscq.report.summary import RunSummary
from stscq.report.tables.cells import rows_of

METHODS = {
    "pretrained": "tokenizer, pretrained",
    "fine_tuned": "tokenizer, fine-tuned",
    "global": "global, compute-matched",
    "token_specific": "token-specific",
    "token_shared": "switchable, token-shared",
    "switchable": "switchable",
    "switchable_nn": "switchable, nn-trained",
}
TRAINED = {"router": "router-trained", "nn": "nn-trained"}
RUN = ["backbone", "variant", "selection"]


def named(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of `RunSummary.runs` with method_name and codec, as readers know them."""
    by_nn = (runs.method == "switchable") & (runs.training == "nn")
    size = runs.M.astype(str) + " x " + runs.K.astype(str)
    return runs.assign(
        method_name=runs.method.mask(by_nn, "switchable_nn").map(METHODS),
        codec=runs.backbone + ", " + size + "\n" + runs.training.map(TRAINED),
    )


def shown(s: RunSummary) -> pd.DataFrame:
    """The named runs on faces; those of the sweep of groups have a figure of their own."""
    runs = named(s.faces())
    return runs[~runs.variant.str.startswith("groups_")]


def by_seed(s: RunSummary, runs: pd.DataFrame, *measures: str) -> pd.DataFrame:
    """A row a run and seed: the columns of RUNS, seed, and MEASURES (NaN where one was not measured)."""
    frames = []
    for run, row in rows_of(runs):
        values = {measure: s.measured(run, measure) or np.nan for measure in measures}
        frames.append(pd.DataFrame({**row._asdict(), "seed": s.seeds, **values}))
    return pd.concat(frames, ignore_index=True)


def ranked(s: RunSummary, name: str, runs: pd.DataFrame, ascending: bool) -> pd.DataFrame:
    """The rows of NAME (utilisation_tokens or utilisation_groups.parquet) that belong to RUNS: share (%) of entries in
    use on the first set, and rank by it within a run and seed, from 1."""
    rows = s.frame(name)
    rows = runs.merge(rows[rows["set"] == s.sets[0]], on=RUN)
    rank = rows.groupby([*RUN, "seed"]).share.rank(method="first", ascending=ascending).astype(int)
    return rows.assign(share=100 * rows.share, rank=rank)


def images_by_group(s: RunSummary, runs: pd.DataFrame) -> pd.DataFrame:
    """people.parquet of RUNS with a row for every group: run, seed, label, person, group, images (0: none)."""
    people = s.frame("people.parquet").rename(columns={"codebook_group": "group"})
    mine = runs.merge(people, on=RUN)
    everybody = mine.drop(columns=["group", "images"]).drop_duplicates()
    every_group = everybody.loc[everybody.index.repeat(everybody.M)]
    every_group["group"] = every_group.groupby(level=0).cumcount()
    counted = every_group.merge(people, how="left", on=[*RUN, "seed", "label", "person", "group"])
    return counted.assign(images=counted.images.fillna(0))
