"""Tables about bytes: what is really written, and what classic codecs need for the same."""

from typing import Any

import pandas as pd

from stscq.evaluation.int8_frame import int8_means
from stscq.evaluation.peers.frames import FIFTH, Reach, against_classic_by_seed, peer_means, reach
from stscq.evaluation.symbols_frame import symbols_means
from stscq.params import TOKENIZERS
from stscq.report.collect import Run
from stscq.report.render import Table, summary_columns
from stscq.report.summary import RunSummary
from stscq.report.tables.cells import (
    SEEDS_NOTE,
    mean,
    mean_and_std,
    measured,
    routed_or_single,
    rows_of,
    tested_note,
)

PAYLOADS = ("fixed", "coded", "file")


def rates(s: RunSummary) -> Table:
    """Fixed-length payload, coded payload, whole file; and how stable symbols are against the batch size."""
    rows = []
    for run, row in rows_of(s.faces()):
        written: dict[str, float] = {}
        for kind in PAYLOADS:
            written |= measured(s, run, [f"{kind}_bytes"])
        for kind in PAYLOADS:
            written |= mean_and_std(f"{kind}_bpp", s.measured(run, f"{kind}_bpp"))
        fixed, coded = s.measured(run, "fixed_bytes"), s.measured(run, "coded_bytes")
        # The fixed length is the same in all seeds, so that the mean of the shares is the share of the means.
        saved = [100 * (1 - a / b) for a, b in zip(coded, fixed, strict=True)]
        changes = {
            "tokens_that_change": s.measured(run, "batch_tokens"),
            "groups_that_change": s.measured(run, "batch_groups"),
            "images_that_change": s.measured(run, "batch_kept"),
            "encoded_twice_percent": [100 * share for share in s.measured(run, "batch_near_ties")],
        }
        rows.append(
            {
                "backbone": run.backbone, "method": row.method, "selection": run.selection, "groups": row.M,
                "entries": row.K, "bits": row.bits, "bpp": row.bpp, **written,
                **mean_and_std("coding_saves_percent", saved),
                **{k: v for name, values in changes.items() for k, v in mean_and_std(name, values).items()},
            }
        )  # fmt: skip
    notes = [
        SEEDS_NOTE,
        "bits: T log2 K + log2 M; bpp: bits a pixel of them. Bytes an image, measured on what is written: fixed, "
        "coded: the payload in fixed length, or range-coded with counts of the training people and what "
        "earlier tokens say; file: the shorter of the two with its header of 5 bytes. coding_saves_percent: of the "
        "fixed-length payload.",
        "tokens_that_change, groups_that_change: among 64 images (mean over seeds), indices that differ between "
        "batches of 1 and of 64 when nothing is done about it. images_that_change: those whose files differ all the "
        "same; near ties are encoded a second time, alone, so that it is none: encoded_twice_percent of the images.",
    ]
    return Table("rates", "Bytes really written", pd.DataFrame(rows), notes)


def by_seed(s: RunSummary, run: Run) -> pd.DataFrame:
    """bytes of the whole file and accuracy, a row a seed."""
    columns = {"bytes": s.measured(run, "file_bytes"), "mean_acc": s.measured(run, "mean_acc")}
    return pd.DataFrame({"seed": s.seeds, **columns}).assign(**run._asdict())


def as_people_use_it(row: Any) -> bool:
    """True for a row of `RunSummary.runs` whose codec is further trained, its group selected by its router where it has
    one, and no step of the sweep of groups."""
    return row.method not in TOKENIZERS and not row.variant.startswith("groups_") and routed_or_single(row)


def peers(s: RunSummary) -> Table:
    """Classic codecs at their operating points."""
    points = s.frame("peers.csv")
    if points.empty:
        return Table("peers", TITLE, pd.DataFrame(), [])
    columns = ["codec", "colour", "side", "quality", "file_bytes", "file_bpp", "mean_acc", "mean_acc_std", "ids",
               "ids_centred", "psnr", "smallest_bytes", "smallest_bytes_full_size"]  # fmt: skip
    frame = peer_means(points).rename(columns={"bytes": "file_bytes", "bpp": "file_bpp"})[columns]
    notes = [
        tested_note(s),
        "Means over seeds (± standard deviation). Whole files, headers included, of the same aligned test faces. "
        "side: pixels to which the face is shrunk before encoding; the decoded picture is enlarged again. grey: the "
        "luma alone is sent, and grey is judged; psnr is against the picture as it was. Colour, side and quality were "
        "chosen by people who are tested in no seed: what the judge recognises best in at most so many bytes. "
        "smallest_bytes: the smallest file that the codec makes of any picture of these faces, and without shrinking "
        "(full_size): below that it cannot encode at all.",
    ]
    return Table("peers", TITLE, frame.astype({"quality": str}), notes)


def peers_ratio(s: RunSummary) -> Table:
    """Ours, and what the best classic codec needs to verify as well."""
    title = "Bytes of whole files at equal accuracy, ours against the best classic codec"
    points = s.frame("peers.csv")
    if points.empty:
        return Table("peers_ratio", title, pd.DataFrame(), [])
    compared = ours_compared(s, points)
    rows = []
    for run, row in rows_of(compared):
        rows.append(
            {
                "backbone": run.backbone, "variant": run.variant, "method": row.method, "file_bytes": row.bytes,
                **summary_columns("mean_acc", s.measured(run, "mean_acc")),
                **{name: mean(s, run, name) for name in ("ids", "ids_centred")},
                **classic_columns(row),
            }
        )  # fmt: skip
    notes = [
        tested_note(s),
        *(f"{backbone}: {reach_in_words(reach(own))}" for backbone, own in of_ours(compared).groupby("backbone")),
        CLASSIC_NOTE,
    ]
    return Table("peers_ratio", title, pd.DataFrame(rows), notes)


CLASSIC_NOTE = (
    "best_classic_bytes: what the best classic codec, in grey or colour, needs for the same verification accuracy, "
    "linear in log bytes between its points in the table peers (where: between). smallest: its smallest file "
    "verifies better already, so that nothing was measured at equal accuracy; beyond: none of its files measured "
    "verifies as well. ratio_low, ratio_high: of single seeds."
)


def beside_classic(s: RunSummary, run: Run) -> dict[str, Any]:
    """What the best classic codec needs to verify as well as a run; nothing where there is none."""
    points = s.frame("peers.csv")
    if points.empty:
        return {}
    (row,) = against_classic_by_seed(by_seed(s, run), points, Run._fields).itertuples()
    return classic_columns(row)


def classic_columns(row: Any) -> dict[str, Any]:
    """Of a row of `against_classic_by_seed`."""
    fifth = ("yes" if row.ours_over_classic <= FIFTH else "no") if row.classic_where == "between" else ""
    return {
        "best_classic": f"{row.classic_codec} {row.classic_colour}".strip(),
        "best_classic_bytes": row.classic_bytes, "where": row.classic_where,
        "ours_over_classic": row.ours_over_classic, "ratio_low": row.ratio_low, "ratio_high": row.ratio_high,
        "at_most_a_fifth": fifth,
    }  # fmt: skip


def ours_compared(s: RunSummary, points: pd.DataFrame) -> pd.DataFrame:
    """A row for each of our codecs as people use it: its Run, method, and the columns of `against_classic_by_seed`."""
    ours = [(run, row) for run, row in rows_of(s.faces()) if as_people_use_it(row)]
    compared = against_classic_by_seed(pd.concat([by_seed(s, run) for run, _ in ours]), points, Run._fields)
    return compared.assign(method=[row.method for _, row in ours])


def of_ours(compared: pd.DataFrame) -> pd.DataFrame:
    """Without the compute-matched baseline, which has the one codebook that this method replaces."""
    return compared[compared.method != "global"]


def reach_in_words(r: Reach) -> str:
    """One line: at how many points, and how far."""
    if not r.equalled:
        return f"no classic codec equals any of its {r.points} points (global ones left out) in accuracy."
    return (
        f"at most a fifth of the best classic codec's bytes at {r.fifth} of {r.equalled} points of equal accuracy; "
        f"ratio {r.least:.3f} to {r.largest:.3f} ({r.points} points, global ones left out)."
    )


TITLE = "Classic codecs on the same faces"


def symbols(s: RunSummary) -> Table:
    """What a better model of the symbols would save."""
    title = "What better models of the symbols would save"
    found = s.frame("symbols.csv")
    if found.empty:
        return Table("symbols", title, pd.DataFrame(), [])
    saved = s.frame("symbols_saved.csv").rename(columns={"difference": "codec_saves_bits"})
    saved = saved.rename(columns={end: f"codec_saves_bits_{end}" for end in ("low", "high", "p")})
    frame = symbols_means(found).merge(saved.drop(columns=["model", "baseline"]), on=["backbone", "variant"])
    notes = [
        "Ideal code lengths of the test people's symbols under models fitted on training people alone, in % of fixed "
        "length; means over seeds. pooled, position, group, group_position: counts of entries, by token, by group, by "
        "both; neighbours: from the entries of earlier tokens; mixture: of all these, with weights from held-out "
        "training people. codec: what the codec codes with, group_position tilted by a linear model of the earlier "
        "tokens. oracle_position: the test images' own entropy a token: no model, a bound for those that know the "
        "position alone.",
        "codec_saves_bits: bits an image less than group_position [95 % bootstrap interval over people], p two-sided.",
    ]
    return Table("symbols", title, frame, notes)


def int8(s: RunSummary) -> Table:
    title = "Codebooks in int8, with one scale a codebook"
    found = s.frame("int8.csv")
    if found.empty:
        return Table("int8", title, pd.DataFrame(), [])
    notes = [
        "Both sides hold int8 codebooks; means over seeds. float32_mib, int8_mib: of all codebooks, scales included. "
        "agreement: share of indices, and of whole payloads, that are those of float32 codebooks. _change: int8 less "
        "float32 on the same images.",
    ]
    frame = int8_means(found).rename(columns={"M": "groups", "K": "entries"})
    return Table("int8", title, frame, notes, digits=4)
