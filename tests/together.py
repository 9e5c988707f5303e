"""What tests/test_parallel.py runs in two processes, and in one: stages, each step logged, each process's weights kept.

python -m stscq.training.launch 2 tests.together jobs.json
"""

import importlib
import json
import sys
from functools import wraps
from pathlib import Path

import torch

from stscq import ranks
from stscq.training import loop

PLACES = ("store", "split", "recogniser", "start", "out", "latents", "pixel_decoder", "published")


def train(jobs):
    """jobs: pairs of a module of stscq.training and its arguments."""
    original, loop.train = loop.train, watched(loop.train)
    share, loop.SAVING_SHARE = loop.SAVING_SHARE, float("inf")  # save_seconds of 0 is after every step, however slow
    try:
        for module, arguments in jobs:
            found = {name: Path(value) if name in PLACES else value for name, value in arguments.items()}
            importlib.import_module(f"stscq.training.{module}").main(**found)
    finally:
        loop.train, loop.SAVING_SHARE = original, share


def watched(train):
    """Logs every step; writes OUT.rankN.safetensors, and what was saved after step N as OUT.stepN.safetensors."""

    @wraps(train)
    def with_copies(model, *arguments, partial, **options):
        out = partial.parent.with_suffix("")
        save = loop.save_tensors

        def save_and_keep(tensors, path, note):
            save(tensors, path, note)
            save(tensors, out.with_suffix(f".step{note['step']}.safetensors"), note)

        loop.save_tensors = save_and_keep
        try:
            train(model, *arguments, partial=partial, log_every=1, **options)
        finally:
            loop.save_tensors = save
        save(model.state_dict(), out.with_suffix(f".rank{ranks.rank()}.safetensors"))

    return with_copies


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(json.loads(Path(sys.argv[1]).read_text()))
