"""How the settings of the library's quantisers were chosen: by their error on training people who were held out.

python -m stscq.evaluation.trials.choose --store data/lfw/faces --entries 64 ... --file choose.md     a few minutes

Nobody who is tested takes part. The workflow does not run this: CHOSEN in stscq.evaluation.trials.library holds what
came out of it on LFW.
"""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from stscq.cli_tools import run
from stscq.evaluation.trials.library import Choice, Kind, fit_quantiser, fours, halves
from stscq.evaluation.trials.measure import diversity, errors
from stscq.evaluation.trials.quantiser import symbols_of
from stscq.evaluation.trials.setting import Setting, open_setting
from stscq.files import write_atomically
from stscq.quantization.search import on_surface

HELD_OUT = 10
"""One in so many training people, in the order of their names."""


def main(
    store: Path,
    split: Path,
    start: Path,
    latents: Path,
    entries: int,
    seed: int,
    stage1_codebooks: str,
    stage2: str,
    file: Path,
) -> None:
    """Writes FILE, a table in Markdown with a row for each candidate: the share of variance it loses, and how its
    symbols are used. The other options are those of stscq.evaluation.trials.answer."""
    setting = open_setting(store, split, start, latents, json.loads(stage1_codebooks), json.loads(stage2), seed)
    fitting, held_out = without_some_people(setting)
    z = on_surface(held_out, setting.tokenizer.metric)
    rows = []
    for choice in candidates():
        quantiser = fit_quantiser(fitting, choice, entries)
        symbols = symbols_of(quantiser, held_out)
        found = {**errors(z, quantiser.vectors(symbols)), **diversity(symbols, 1, entries)}
        about = {"kind": choice.kind, "parts": choice.sizes(entries), "lr": choice.lr, "options": dict(choice.options)}
        rows.append({**about, **found})
        print(rows[-1], flush=True)
    write_atomically(file, pd.DataFrame(rows).to_markdown(index=False, floatfmt=".4f") + "\n")


def without_some_people(setting: Setting) -> tuple[Setting, Tensor]:
    """The setting of the other people, and the latents of the faces of those held out."""
    _, person = np.unique(setting.identity, return_inverse=True)
    out = person % HELD_OUT == 0
    rest = setting._replace(
        faces=setting.faces[~out], augmented=setting.augmented[:, ~out], identity=setting.identity[~out]
    )
    return rest, setting.faces[out]


def candidates() -> Iterator[Choice]:
    """Parts, the library's main options, and rates."""
    moving: tuple[Kind, Kind] = ("residual_vq", "product_vq")
    for kind, decay in product(moving, (0.8, 0.99)):
        yield Choice(kind, halves, options=(("decay", decay),))
    for sizes, lr in ((halves, 0.01), (fours, 0.01), (halves, 0.03)):
        yield Choice("fsq", sizes, lr)
    for lr, entropy in ((0.01, 0.0), (0.01, 0.1), (0.03, 0.0)):
        yield Choice("lfq", fours, lr, (("entropy_loss_weight", entropy),))
    yield Choice("lfq", fours, 0.01, (("entropy_loss_weight", 0.0), ("spherical", True)))


if __name__ == "__main__":
    run(main)
