"""What goes beyond the paper: codebooks of unequal size, and an encoder that looks longer."""

from typing import Any

import pandas as pd

from stscq.report.render import Table
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import IDS_NOTE, SEEDS_NOTE, measured, rows_of, tested_note, versus
from stscq.report.tables.rates import CLASSIC_NOTE, beside_classic

MEASURES = ("mean_acc", "ids", "ids_centred", "psnr")
OF_RECOGNISER = ("ids",)
TWIN_NOTE = (
    "`_vs_twin`: paired difference to the row named by `twin` over the same test pairs or images of all seeds "
    "[95 % bootstrap interval over people], p two-sided."
)
RECOGNISER_NOTE = (
    "recogniser_: by the recogniser of training, which gave the sensitivities and is what an encoder with effort looks "
    "at; what it gains and the judge does not is no gain."
)


def allocation(s: RunSummary) -> Table:
    """Each variant of unequal codebooks beside its twin of equal ones, of as many bits if it asks for no others."""
    note = (
        "power: of w_j, how much identity moves by an error in token j, in the rule by which K_j was chosen "
        "(docs/beyond.md); the twin has K entries in every token, and as many bits if the variant asks for no others."
    )
    title = "Codebooks of unequal size: bits where the identity is"
    return Table("allocation", title, *beside_twins(s, s.unequal(), "power", note, "allocation"))


def effort(s: RunSummary) -> Table:
    """Each variant that is encoded with effort beside the same codec without."""
    note = "effort: 1 to 9, how long the encoder looks for entries that show the person (docs/beyond.md); the twin: 0."
    title = "Encoder effort: the same codec, looking longer"
    return Table("effort", title, *beside_twins(s, s.searched(), "effort", note, "effort"))


def beside_twins(
    s: RunSummary, outside: pd.DataFrame, column: str, note: str, key: str
) -> tuple[pd.DataFrame, list[str]]:
    """Rows of twins and of what is compared with them, and the notes of the table. key: the variant's key in params."""
    second = s.by_second_judge()
    nn = s.runs[s.runs.selection == "nn"]
    rows: list[dict[str, Any]] = []
    for run, row in rows_of(outside[outside.selection == "nn"]):
        pair = nn[(nn.backbone == run.backbone) & nn.variant.isin([row.twin, run.variant])]
        for one, its in rows_of(pair.sort_values("variant", key=lambda names: names != row.twin)):
            again = {f"recogniser_{name}": value for name, value in measured(second, one, OF_RECOGNISER).items()}
            mine = one == run
            rows.append(
                {
                    "backbone": one.backbone, "variant": one.variant, "twin": row.twin if mine else "",
                    column: getattr(its, column), "bits": its.bits,
                    **measured(s, one, ("coded_bytes", "file_bytes", *MEASURES)),
                    **(versus(s, one, "twin", MEASURES) if mine else {}), **again, **beside_classic(s, one),
                }
            )  # fmt: skip
    if not rows:
        frame = pd.DataFrame([{"backbone": "none", "variant": "none"}])
        return frame, [f"No variant of this profile has `{key}`; those of lfw do."]
    frame = pd.DataFrame(rows)
    classic = [CLASSIC_NOTE] if "best_classic" in frame else []
    return frame, [tested_note(s), SEEDS_NOTE, IDS_NOTE, note, TWIN_NOTE, RECOGNISER_NOTE, *classic]
