"""Make a bundle of a run the one that comes with the package: its files, and a card with what the run measured of it.

python -m stscq.codec.ship --bundle models/lfw/maskgit_vqgan/bundle/token_specific_64/seed1
    --measured data/lfw/evaluation/maskgit_vqgan/token_specific_64/test/seed1/metrics.json --out stscq/model
"""

import json
import shutil
from pathlib import Path
from typing import Any

from stscq.cli_tools import run
from stscq.codec.bundle.card import write_card
from stscq.codec.bundle.description import read_json
from stscq.codec.bundle.find import files_of
from stscq.codec.bundle.read import Bundle
from stscq.errors import BundleError

SHOWN = ("mean_acc", "ids", "ids_centred", "psnr", "ssim", "fixed_bytes", "coded_bytes", "file_bytes")
"""What the card says, of all that stscq.evaluation.evaluate measures."""


def main(bundle: Path, measured: Path, out: Path) -> None:
    """Writes the bundle OUT. MEASURED: metrics.json of its evaluation, whose numbers in SHOWN the card takes, for the
    selection that the bundle prefers. Raises BundleError when BUNDLE is damaged or MEASURED has no such numbers."""
    source = Bundle(bundle)
    source.verify()
    card = {**read_json(bundle / "card.json"), "measured": numbers(measured, source.selection)}
    out.mkdir(parents=True, exist_ok=True)
    for file in files_of(source):
        shutil.copyfile(file, out / file.name)
    write_card(out, card)


def numbers(measured: Path, selection: str) -> dict[str, Any]:
    try:
        evaluation = json.loads(measured.read_text(encoding="utf-8"))
        found = evaluation["selections"][selection]
        return {"images": evaluation["images"], **{name: round(found[name], 4) for name in SHOWN}}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise BundleError(f"{measured}: no evaluation of a codec ({problem!r})") from problem


if __name__ == "__main__":
    run(main)
