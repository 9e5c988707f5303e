"""Tables about what it costs."""

from stscq.evaluation.published import errata
from stscq.report.render import Table, whole_numbers
from stscq.report.summary import RunSummary


def cost(s: RunSummary) -> Table:
    """Counted, and measured on the machine that ran this profile; method says how the group is selected."""
    keys = ["backbone", "method", "groups_x_entries"]
    measured = s.frame("measured.csv")
    where = measured.dropna(subset=["device"])
    frame = s.frame("cost.csv").merge(
        measured.drop(columns=["device", "threads", "torch"]), on=keys, how="left", validate="one_to_one"
    )
    notes = []
    if len(where):
        machines = where[["device", "threads", "torch"]].drop_duplicates().astype({"threads": int})
        listed = "; ".join(f"{m.device}, {m.threads} thread(s), torch {m.torch}" for m in machines.itertuples())
        notes.append(f"Seconds and memory were measured on: {listed}; with random weights, one image at a time.")
    notes += [
        "encode_seconds: encoder and search; seconds_per_image: with the decoder; medians. sender_peak_mib, peak_mib: "
        "largest resident memory (on GPUs allocated memory) of a process that encodes, and of one that decodes as "
        "well, above what torch itself takes. published: on a V100. not_measured: why a cell is empty.",
        "Counted on our modules at published size: storage: float32 MiB of encoder, codebooks that are searched (nn: "
        "all groups, router: one) and router; parameters: how many numbers, codebooks and router of all groups.",
        "int8_storage_mib: the same with int8 codebooks and a scale a codebook; table int8 says what they change. "
        "corrected: the published storage without the erratum below.",
        *errata("cost"),
        "MACs: multiply-accumulates of encoder and decoders for one image, attention included, codebook search apart. "
        "The paper's column is headed FLOPs; the public definitions give 157.6, 115.6 and 277.3 G, as ours do.",
    ]
    return Table("cost", "Cost at the edge, at published size", frame, notes, digits=4)


def training_cost(s: RunSummary) -> Table:
    notes = [
        "seconds: of one model, mean (seconds_std over models); hours: of all models of a row together, one job after "
        "the other. continued: models whose training went on after a kill, so that part of their seconds is an "
        "estimate.",
        "Tokenizers of this profile's sizes on this profile's machine; the published hours are those of the paper's "
        "sizes.",
    ]
    return Table("training_cost", "Cost of training", whole_numbers(s.frame("training_cost.csv")), notes)
