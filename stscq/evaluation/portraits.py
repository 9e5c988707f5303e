"""What a codec makes of a few faces, to be looked at.

python -m stscq.evaluation.portraits --store data/lfw/portraits --bundle models/lfw/ibq/bundle/token_specific/seed1
    --file data/lfw/coded_portraits/ibq/token_specific.npz
"""

from pathlib import Path

import numpy as np

from stscq.cli_tools import run
from stscq.codec.api import Codec
from stscq.data.store import open_store
from stscq.device import own_device
from stscq.files import atomically


def main(store: Path, bundle: Path, file: Path) -> None:
    """Writes FILE: `original`, the faces of STORE (N x S x S x 3 uint8), and `decoded`, the same through the codec of
    BUNDLE, by selection nn, to whole files and back."""
    faces = np.asarray(open_store(store).images)
    codec = Codec.load(bundle, own_device())
    with atomically(file) as partial, partial.open("wb") as opened:
        np.savez_compressed(opened, original=faces, decoded=codec.decode(codec.encode(faces, "nn")))


if __name__ == "__main__":
    run(main)
