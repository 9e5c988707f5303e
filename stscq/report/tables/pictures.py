"""Tables about the pictures, whoever is on them."""

import pandas as pd

from stscq.evaluation.published import beside, errata
from stscq.params import TOKENIZERS
from stscq.report.render import Table
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import SEEDS_NOTE, measured, missing_notes, rows_of, versus


def image_quality(s: RunSummary) -> Table:
    measures = ("ssim", "psnr", "lpips")
    rows = []
    for run, row in rows_of(s.faces()):
        if row.M > 1 or row.method in TOKENIZERS or run.variant.startswith("groups_"):
            continue
        ours = measured(s, run, measures)
        theirs = beside(ours, "image_quality", measures, s.paper, backbone=run.backbone, method=row.method)
        rows.append(
            {
                "backbone": run.backbone, "method": row.method, "tokens": row.tokens, "bpp": row.bpp, **ours,
                **versus(s, run, "global", ("ssim", "psnr")), **theirs,
            }
        )  # fmt: skip
    notes = [
        SEEDS_NOTE,
        "`_vs_global`: paired difference to the compute-matched global baseline [95 % bootstrap interval over "
        "people], p two-sided. LPIPS (AlexNet) with its published weights.",
        *missing_notes(s, measures),
    ]
    return Table("image_quality", "Quality of the pictures", pd.DataFrame(rows), notes)


def imagenet(s: RunSummary) -> Table:
    measures = ("fid", "lpips", "psnr", "ssim")
    runs = s.pictures()
    rows = []
    for run, row in rows_of(runs[~runs.method.isin(TOKENIZERS)]):
        family = run.backbone.removesuffix("_imagenet")
        ours = measured(s, run, measures)
        theirs = beside(ours, "imagenet", measures, s.paper, backbone=family, method=row.method)
        rows.append({"backbone": family, "method": row.method, "bpp": row.bpp, **ours, **theirs})
    sets = ", ".join(sorted({name for backbone in runs.backbone for name in s.own_sets(backbone)}))
    notes = [SEEDS_NOTE, f"Pictures of {sets}. FID against the same pictures uncompressed.", *errata("imagenet")]
    notes += missing_notes(s, measures)
    return Table("imagenet", "Beyond faces", pd.DataFrame(rows), notes)
