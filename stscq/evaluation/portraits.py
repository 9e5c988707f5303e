"""What the codecs of one backbone make of a few faces, to be looked at.

python -m stscq.evaluation.portraits --store data/lfw/portraits --file data/lfw/portraits/ibq.npz
    --bundles '{"token_specific": "models/lfw/ibq/bundle/token_specific/seed1"}'
"""

import json
from pathlib import Path

import numpy as np

from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.data.store import open_store
from stscq.device import own_device
from stscq.files import atomically


def main(store: Path, bundles: str, file: Path) -> None:
    """Writes FILE: `original`, the faces of STORE (N x S x S x 3 uint8), then the same through each of BUNDLES (JSON, a
    name and a folder each), by selection nn, to whole files and back."""
    faces = np.asarray(open_store(store).images)
    shown = {"original": faces}
    for name, folder in json.loads(bundles).items():
        codec = Codec.load(folder, own_device())
        shown[name] = codec.decode(codec.encode(faces, "nn"))
    with atomically(file) as partial, partial.open("wb") as opened:
        np.savez_compressed(opened, **shown)  # type: ignore[arg-type]


if __name__ == "__main__":
    run(main)
