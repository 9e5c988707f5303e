"""The one training loop: every stage, and the recogniser, hand it a function that computes the loss of a step.

What happens at step s depends on the weights, the optimiser and (seed, s) only. So a run that was killed goes on from
its last partial checkpoint and ends at the very weights of an unbroken run.
"""

import json
import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from stscq.training.checkpoint import (
    fingerprint,
    load_tensors,
    optimiser_tensors,
    prefixed,
    restore_optimiser,
    save_checkpoint,
    save_tensors,
    without_prefix,
    write_atomically,
)

LossOfStep = Callable[[int], dict[str, Tensor]]
"""Step number -> named terms; `loss` is minimised, the others are logged."""


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear rise over `warmup` steps, then a cosine down to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def train_and_save(
    model: nn.Module,
    loss_of_step: LossOfStep,
    *,
    tensors: Callable[[], dict[str, Tensor]],
    recipe: Mapping[str, Any],
    inputs: Sequence[Path],
    out: Path,
    steps: int,
    lr: float,
    batch: int,
    weight_decay: float,
    save_seconds: float,
) -> None:
    """Train `model`, then write the checkpoint folder `out`: weights (`tensors()`), recipe and log.

    An unfinished run lives beside it, in OUT.partial, and is taken up again only when recipe and content of `inputs`
    are the same.
    """
    unfinished = out.with_name(f"{out.name}.partial")
    unfinished.mkdir(parents=True, exist_ok=True)
    train(
        model,
        loss_of_step,
        steps=steps,
        lr=lr,
        batch=batch,
        weight_decay=weight_decay,
        partial=unfinished / "state.safetensors",
        log=unfinished / "log.jsonl",
        recipe_hash=fingerprint(recipe, *inputs),
        save_seconds=save_seconds,
    )
    save_checkpoint(out, tensors(), recipe)
    (unfinished / "log.jsonl").replace(out / "log.jsonl")
    shutil.rmtree(unfinished)


def train(
    model: nn.Module,
    loss_of_step: LossOfStep,
    *,
    steps: int,
    lr: float,
    batch: int,
    weight_decay: float,
    partial: Path,
    log: Path,
    recipe_hash: str,
    save_seconds: float,
    log_every: int = 20,
) -> None:
    """Train those parameters of `model` that require gradients, in place, with AdamW.

    `partial` holds the state of an unfinished run; it is used only when it was written by the same recipe
    (`recipe_hash`). `log` gets one JSON line every `log_every` steps.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)
    start = resume(model, optimiser, partial, recipe_hash)
    lines = [line for line in read_log(log) if line["step"] < start]
    write_atomically(log, "".join(json.dumps(line) + "\n" for line in lines))
    saved = began = time.monotonic()
    model.train()
    bar = tqdm(range(start, steps), desc="training", initial=start, total=steps, mininterval=progress_seconds())
    with log.open("a", encoding="utf-8") as log_file:
        for step in bar:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, steps, lr, warmup=max(1, steps // 20))
            terms = loss_of_step(step)
            optimiser.zero_grad(set_to_none=True)
            terms["loss"].backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            if step % log_every == 0 or step == steps - 1:
                values = {name: round(term.item(), 6) for name, term in terms.items()}
                rate = batch * (step + 1 - start) / (time.monotonic() - began)
                log_file.write(json.dumps({"step": step, **values, "images_per_second": round(rate, 1)}) + "\n")
                log_file.flush()
                bar.set_postfix_str(f"loss {values['loss']:.4f}, {rate:.0f} images/s", refresh=False)
            if time.monotonic() - saved >= save_seconds and step + 1 < steps:
                state = {**prefixed("model", model.state_dict()), **prefixed("optimiser", optimiser_tensors(optimiser))}
                save_tensors(state, partial, {"step": step + 1, "recipe_hash": recipe_hash})
                saved = time.monotonic()
    model.eval()


def resume(model: nn.Module, optimiser: torch.optim.Optimizer, partial: Path, recipe_hash: str) -> int:
    """Restore an unfinished run of the same recipe; the step to go on from (0 when there is none)."""
    if not partial.exists():
        return 0
    tensors, note = load_tensors(partial)
    if note["recipe_hash"] != recipe_hash:
        print(f"{partial}: left by a run with other parameters or inputs; starting anew", file=sys.stderr)
        return 0
    model.load_state_dict(without_prefix("model", tensors))
    restore_optimiser(optimiser, without_prefix("optimiser", tensors))
    print(f"going on from step {note['step']} of {partial}", file=sys.stderr)
    return int(note["step"])


def read_log(log: Path) -> list[dict[str, float]]:
    """The lines of a log; a last line cut off by a kill is left out."""
    if not log.exists():
        return []
    lines = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def progress_seconds() -> float:
    """How often the progress bar is drawn: smoothly on a terminal, rarely in a log file."""
    return 0.2 if sys.stderr.isatty() else 10.0
