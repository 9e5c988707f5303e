"""What a large published recogniser says of every face of a store: what a small one will learn (stscq.training.distil).

python -m stscq.training.teacher --store data/pretrain/sets/utkface --recogniser weights/faceres_deep.json --file ...
"""

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.device import own_device
from stscq.files import atomically, progress_seconds
from stscq.recognition.mobilenet import MobileNet

BATCH = 32


@torch.no_grad()
def main(store: Path, recogniser: Path, file: Path) -> None:
    """Writes FILE (.npy): N x 1024 float16, the mean of a face's embedding and its mirror image's.

    RECOGNISER is the .json of a MobileNet (see stscq.recognition.mobilenet). Raises DataError when it is not.
    """
    device = own_device()
    network = MobileNet(recogniser).to(device)
    images, _ = open_store(store)
    parts = []
    for i in tqdm(range(0, len(images), BATCH), desc="embedding", mininterval=progress_seconds()):
        faces = to_float(images[i : i + BATCH], device)
        parts.append(((network(faces) + network(faces.flip(3))) / 2).half().cpu().numpy())
    with atomically(file) as partial, partial.open("wb") as stream:
        np.save(stream, np.concatenate(parts))


if __name__ == "__main__":
    run(main)
