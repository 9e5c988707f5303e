"""What goes beyond the paper: codebooks of unequal size."""

import pandas as pd

from stscq.report.render import Table
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import IDS_NOTE, SEEDS_NOTE, measured, rows_of, tested_note, versus

MEASURES = ("mean_acc", "ids", "ids_centred", "psnr")
OF_RECOGNISER = ("ids",)


def allocation(s: RunSummary) -> Table:
    """Each variant of unequal codebooks beside its twin, which has as many bits in codebooks of equal size."""
    second = s.by_second_judge()
    rows = []
    nn = s.runs[s.runs.selection == "nn"]
    unequal = s.unequal()
    for run, row in rows_of(unequal[unequal.selection == "nn"]):
        twins = nn[(nn.backbone == run.backbone) & (nn.method == row.method) & (nn.M == row.M) & (nn.K == row.K)]
        for one, its in rows_of(pd.concat([twins[~twins.outside_claims].head(1), twins[twins.variant == run.variant]])):
            written = measured(s, one, ("coded_bytes", "file_bytes"))
            again = {f"recogniser_{name}": value for name, value in measured(second, one, OF_RECOGNISER).items()}
            rows.append(
                {
                    "backbone": one.backbone, "variant": one.variant, "power": its.power, "bits": its.bits, **written,
                    **measured(s, one, MEASURES), **versus(s, one, "twin", MEASURES), **again,
                }
            )  # fmt: skip
    notes = [
        tested_note(s),
        SEEDS_NOTE,
        IDS_NOTE,
        "power: of w_j, how much identity moves by an error in token j, in the rule by which K_j was chosen "
        "(docs/beyond.md); the row above has K entries in every token. `_vs_twin`: paired difference to that row over "
        "the same test pairs or images of all seeds [95 % bootstrap interval over people], p two-sided. recogniser_: "
        "by the recogniser of training, which gave w_j and taught every decoder here; what it gains and the judge does "
        "not is no gain.",
    ]
    if not rows:
        rows = [{"backbone": "none", "variant": "none"}]
        notes = ["No variant of this profile has `allocation`; those of lfw do."]
    return Table("allocation", "Codebooks of unequal size: bits where the identity is", pd.DataFrame(rows), notes)
