"""What a codec sends of a whole set. With effort that takes minutes to hours, so what was found is kept on the way:

a kill costs the last half minute.
"""

import hashlib
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from stscq.checkpoint import fingerprint, load_tensors, save_tensors
from stscq.codec.api import Codec
from stscq.codec.bundle.description import Selection
from stscq.files import progress_seconds
from stscq.provenance.code import code_fingerprint
from stscq.quantization.search import Assignment

AT_ONCE = 16
"""Images, some seconds of effort."""
SAVE_SECONDS = 30.0


def quantised(
    codec: Codec, selection: Selection, images: np.ndarray, rows: np.ndarray, z_e: Tensor, kept: Path
) -> Assignment:
    """As `codec.quantise`; with effort by what the file KEPT has of it, which is for the caller to delete."""
    if not codec.effort:
        return codec.quantise(images, selection, rows, z_e)
    key = key_of(codec, selection, images, rows)
    group, index = what_was_kept(kept, key, codec.bundle.sizes.T)
    saved, label = time.monotonic(), f"effort {codec.effort}"
    with tqdm(total=len(rows), initial=len(group), desc=label, unit="img", mininterval=progress_seconds()) as bar:
        while len(group) < len(rows):
            some = slice(len(group), len(group) + AT_ONCE)
            found = codec.quantise(images, selection, rows[some], z_e[some])
            group, index = torch.cat([group, found.group]), torch.cat([index, found.index])
            bar.update(len(found.group))
            if len(group) == len(rows) or time.monotonic() - saved >= SAVE_SECONDS:
                save_tensors({"group": group, "index": index}, kept, {"key": key})
                saved = time.monotonic()
    return Assignment(group, index)


def key_of(codec: Codec, selection: Selection, images: np.ndarray, rows: np.ndarray) -> str:
    """Of all that decides what is found but the machine: code, model, effort, and the images of these rows."""
    seen = hashlib.sha256()
    for row in rows:  # one at a time: at published size all of them are gigabytes
        seen.update(images[row].tobytes())
    return fingerprint(
        {
            "code": code_fingerprint(Codec.__module__),
            "bundle": codec.bundle.fingerprint.hex(),
            "effort": codec.effort,
            "selection": selection,
            "images": seen.hexdigest(),
        }
    )


def what_was_kept(kept: Path, key: str, T: int) -> tuple[Tensor, Tensor]:
    """Group (N) and index (N x T) of the first N images; none where nothing is kept, or something else."""
    nothing = torch.zeros(0, dtype=torch.int64), torch.zeros(0, T, dtype=torch.int64)
    if not kept.exists():
        return nothing
    tensors, note = load_tensors(kept)
    if note["key"] != key:
        print(f"{kept}: left by a run of another codec, images or code; starting anew", file=sys.stderr)
        return nothing
    print(f"going on after {len(tensors['group'])} images of {kept}", file=sys.stderr)
    return tensors["group"], tensors["index"]
