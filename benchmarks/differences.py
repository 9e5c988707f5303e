"""How two codecs differ, paired: on the same images and pairs, by bootstrap over people; how that is written."""

from typing import Any

import pandas as pd

from stscq.errors import DataError
from stscq.evaluation.judging import Judgement
from stscq.evaluation.statistics import Paired, paired_bootstrap


def differences(ours: Judgement, theirs: Judgement) -> dict[str, Paired]:
    """Paired, by bootstrap over people; of several seeds together, those that ran: training is not drawn again.

    Raises DataError where images or pairs are not the same.
    """
    for name, keys in (("images", ["row", "identity"]), ("pairs", ["a", "b", "same"])):
        if not getattr(ours, name)[keys].equals(getattr(theirs, name)[keys]):
            raise DataError(f"the two evaluations are of other {name}")
    person = ours.images.drop_duplicates("row").set_index("row").identity  # of several seeds' images, too
    right = 100.0 * (ours.pairs.correct.astype(float) - theirs.pairs.correct.astype(float))
    kind = ours.pairs.same.map({True: "genuine", False: "impostor"})
    of_pairs = frame(right, ours.pairs.a.map(person), ours.pairs.b.map(person), kind)
    found = {"accuracy_percent": paired_bootstrap(of_pairs)}
    for name in ("ids", "ids_centred", "psnr"):
        value = ours.images[name] - theirs.images[name]
        found[name] = paired_bootstrap(frame(value, ours.images.identity, ours.images.identity, "images"))
    return found


def frame(value: pd.Series, first: pd.Series, second: pd.Series, stratum: Any) -> pd.DataFrame:
    """As `paired_bootstrap` takes it, every row of the same weight."""
    return pd.DataFrame({"value": value, "first": first, "second": second, "stratum": stratum, "weight": 1.0})


def told(found: Paired) -> str:
    """A mean difference and its 95 % interval over people."""
    return f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
