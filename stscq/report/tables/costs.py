"""Tables about what it costs."""

from stscq.report.published import errata, published_rows
from stscq.report.render import Table
from stscq.report.summary import Summary


def cost(s: Summary) -> Table:
    notes = [
        "Counted from our modules at published size; no weights are needed.",
        "storage: float32 MiB of encoder, codebooks that are searched (NN: all groups, CR: one) and router.",
        *errata("cost"),
        "MACs: multiply-accumulates of encoder and decoders for one image, attention included, codebook search apart. "
        "The paper's column is headed FLOPs; the public definitions give 157.6, 115.6 and 277.3 G, as ours do.",
    ]
    return Table("cost", "Cost at the edge, at published size", s.frame("cost.csv"), notes)


def training_cost(s: Summary) -> Table:
    printed = published_rows("training_cost")
    return Table(
        "training_cost",
        "Cost of training",
        printed.rename(columns=lambda c: c if c == "what" else f"published_{c}"),
        [],
    )
