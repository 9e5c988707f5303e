"""The one training loop: every stage, and the recogniser, hand it a function that computes the loss of a step.

What happens at step s depends on the weights, the optimisers and (seed, s) only. So a run that was killed goes on from
its last partial checkpoint and ends at the very weights of an unbroken run. It may go on with another number of
processes (stscq.parallel), and ends at the same weights then up to rounding.
"""

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from stscq import parallel, ranks
from stscq.checkpoint import (
    fingerprint,
    load_tensors,
    prefixed,
    save_checkpoint,
    save_tensors,
    without_prefix,
)
from stscq.device import Precision
from stscq.errors import CheckpointError
from stscq.files import progress_seconds, read_log, write_atomically
from stscq.training.adversary import Adversary
from stscq.training.optimiser import Optimiser

LossOfStep = Callable[[int, int], dict[str, Tensor]]
"""Step number, and which of its `accumulate` parts -> named terms; `loss` is minimised, the others are logged."""
SAVING_SHARE = 0.05
"""Of the time, where saving takes more than a second: a large state is saved less often than every `save_seconds`."""


class Schedule(NamedTuple):
    """How a stage is trained: `steps` of `accumulate` batches of `batch` images each, at a peak rate of `lr`.

    However many processes train together, the batch is theirs together.
    """

    steps: int
    batch: int
    lr: float
    weight_decay: float
    accumulate: int = 1
    precision: Precision = "fp32"
    save_seconds: float = 30.0


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear rise over `warmup` steps, then a cosine down to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train_and_save(
    model: nn.Module,
    loss_of_step: LossOfStep,
    schedule: Schedule,
    *,
    tensors: Callable[[], dict[str, Tensor]],
    recipe: Mapping[str, Any],
    inputs: Sequence[Path],
    out: Path,
    matrices: Sequence[nn.Parameter] = (),
    adversary: Adversary | None = None,
) -> None:
    """Train `model`, then write the checkpoint folder `out`: weights (`tensors()`), recipe and log.

    `matrices` of it move by Muon. `adversary` moves after each of its steps, at its rate.

    An unfinished run lives beside it, in OUT.partial, and is taken up again only when recipe and content of `inputs`
    are the same; by how many processes does not matter. Of several the first one writes.
    """
    unfinished = out.with_name(f"{out.name}.partial")
    unfinished.mkdir(parents=True, exist_ok=True)
    train(
        model,
        loss_of_step,
        schedule,
        partial=unfinished / "state.safetensors",
        log=unfinished / "log.jsonl",
        recipe_hash=parallel.told_by_main(lambda: fingerprint(recipe, *inputs)),
        matrices=matrices,
        adversary=adversary,
    )
    if ranks.is_main():
        save_checkpoint(out, tensors(), recipe)
        shutil.copyfile(unfinished / "log.jsonl", out / "log.jsonl")  # killed here, the next run has its lines still
        shutil.rmtree(unfinished)
    parallel.wait()


def train(
    model: nn.Module,
    loss_of_step: LossOfStep,
    schedule: Schedule,
    *,
    partial: Path,
    log: Path,
    recipe_hash: str,
    log_every: int = 20,
    matrices: Sequence[nn.Parameter] = (),
    adversary: Adversary | None = None,
) -> None:
    """Train those parameters of `model` that require gradients, in place.

    `partial` holds the state of an unfinished run; it is used only when it was written by the same recipe
    (`recipe_hash`). `log` gets one JSON line every `log_every` steps.
    """
    steps = schedule.steps
    optimiser = Optimiser(model, schedule.lr, schedule.weight_decay, schedule.precision, matrices)
    start = resume(model, optimiser, partial, recipe_hash, adversary)
    start_together(model, start, partial)
    if ranks.is_main():
        lines = [line for line in read_log(log) if line["step"] < start]
        write_atomically(log, "".join(json.dumps(line) + "\n" for line in lines))
    saved = began = time.monotonic()
    wait = schedule.save_seconds
    model.train()
    bar = tqdm(
        range(start, steps),
        desc="training",
        initial=start,
        total=steps,
        mininterval=progress_seconds(),
        disable=not ranks.is_main(),
    )
    with (log if ranks.is_main() else Path(os.devnull)).open("a", encoding="utf-8") as log_file:
        for step in bar:
            rate = learning_rate(step, steps, schedule.lr, warmup=max(1, steps // 20))
            optimiser.set_rate(rate)
            parts = []
            for part in range(schedule.accumulate):
                terms = loss_of_step(step, part)
                optimiser.backward(terms["loss"] / schedule.accumulate)
                parts.append({name: term.detach() for name, term in terms.items()})
            optimiser.step()
            if adversary is not None:
                adversary.step(rate)
            if step % log_every == 0 or step == steps - 1:
                values = mean_terms(parts)
                done = schedule.batch * schedule.accumulate * (step + 1 - start)
                speed = done / (time.monotonic() - began)
                log_file.write(json.dumps({"step": step, **values, "images_per_second": round(speed, 1)}) + "\n")
                log_file.flush()
                bar.set_postfix_str(f"loss {values['loss']:.4f}, {speed:.0f} images/s", refresh=False)
            if ranks.is_main() and time.monotonic() - saved >= wait and step + 1 < steps:
                began_saving = time.monotonic()
                state = {**prefixed("model", model.state_dict()), **prefixed("optimiser", optimiser.tensors())}
                if adversary is not None:
                    state |= prefixed("adversary", adversary.tensors())
                save_tensors(state, partial, {"step": step + 1, "recipe_hash": recipe_hash})
                saved = time.monotonic()
                took = saved - began_saving
                wait = max(schedule.save_seconds, took / SAVING_SHARE if took > 1 else 0)
    model.eval()


def mean_terms(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Of the parts of a step and over all processes, rounded for the log."""
    means = [sum(part[name].item() for part in parts) / len(parts) for name in parts[0]]
    if not parallel.alone():
        means = parallel.averaged(torch.tensor(means, dtype=torch.float64, device=parallel.device())).tolist()
    return {name: round(mean, 6) for name, mean in zip(parts[0], means, strict=True)}


def start_together(model: nn.Module, start: int, partial: Path) -> None:
    """All processes from the same step, with the weights of the first.

    Raises CheckpointError when this one found another unfinished run, as on a file system that is slow to show changes.
    """
    first = parallel.told_by_main(lambda: start)
    if start != first:
        raise CheckpointError(
            f"{partial}: of step {start} in process {ranks.rank()}, of {first} in the first; try again"
        )
    parallel.take_from_main(model.state_dict().values())


def resume(
    model: nn.Module, optimiser: Optimiser, partial: Path, recipe_hash: str, adversary: Adversary | None = None
) -> int:
    """Restore an unfinished run of the same recipe; the step to go on from (0 when there is none)."""
    if not partial.exists():
        return 0
    tensors, note = load_tensors(partial)
    if note["recipe_hash"] != recipe_hash:
        tell(f"{partial}: left by a run with other parameters or inputs; starting anew")
        return 0
    state = without_prefix("model", tensors)
    if {name: value.shape for name, value in state.items()} != {k: v.shape for k, v in model.state_dict().items()}:
        tell(f"{partial}: left by another version of the code; starting anew")
        return 0
    model.load_state_dict(state)
    try:
        optimiser.restore(without_prefix("optimiser", tensors))
        if adversary is not None:
            adversary.restore(without_prefix("adversary", tensors))
    except (KeyError, ValueError, RuntimeError) as problem:
        raise CheckpointError(f"{partial}: left by another version of the code ({problem!r}); delete it") from problem
    tell(f"going on from step {note['step']} of {partial}")
    return int(note["step"])


def tell(line: str) -> None:
    """Once, however many processes train together."""
    if ranks.is_main():
        print(line, file=sys.stderr)
