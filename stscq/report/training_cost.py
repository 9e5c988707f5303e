"""What training cost: seconds and images of every stage, from the records that its runs left beside the checkpoints."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from stscq.errors import DataError
from stscq.evaluation.published import published_rows

STAGES = {
    "stscq.training.recogniser": "recogniser",
    "stscq.training.stage1_tokenizer": "stage1_tokenizer",
    "stscq.training.stage1_codebooks": "stage1_codebooks",
    "stscq.training.stage2": "stage2",
    "stscq.training.stage3": "stage3",
}
"""Module -> what it trains, in the order of training."""
TAUGHT = "stage3, taught by the judge"
"""Apart: another recogniser is another cost, and what it taught is in no mean."""
ON_TOP = ("stage1_codebooks", "stage2", "stage3")
"""What the method adds to a tokenizer tuned on faces."""
METHOD = "method on top of the tokenizer"
GOING_ON = 0.9
"""A run whose record covers less than this share of its training went on where a killed one had stopped."""
COLUMNS = (
    *("what", "backbone", "stage", "models", "seconds", "seconds_std", "images_seen", "images_per_second"),
    *("continued", "hours", "machine", "published_gpus", "published_hours"),
)


class Training(NamedTuple):
    """One run of one stage. seconds: of the whole run, start to end; going_on: part of it is an estimate."""

    backbone: str
    stage: str
    seconds: float
    images_seen: int
    images_per_second: float
    going_on: bool
    machine: str


def record_files(models: Path) -> list[Path]:
    """Records of training below models/PROFILE."""
    names = {f"{module.rsplit('.', 1)[-1]}.run.json" for module in STAGES}
    return sorted(path for path in models.rglob("*.run.json") if path.name in names)


def read_training(record: Path) -> Training:
    """From a record and the log beside it. Raises DataError when one of them is missing or damaged.

    A record's seconds are those of its process. Where that went on from a killed one, the seconds of the whole are
    estimated: images over the rate at which this process trained.
    """
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        lines = (record.parent / "log.jsonl").read_text(encoding="utf-8").splitlines()
        rate = float(json.loads(lines[-1])["images_per_second"]) if lines else 0.0  # 0 steps: handed on
        given = found["arguments"]
        images = int(given["steps"] * given["batch"] * given.get("accumulate", 1))
        stage, seconds, machine = STAGES[found["module"]], float(found["seconds"]), found["machine"]
        backbone = backbone_of(given, stage)
        stage = TAUGHT if given.get("taught_by", "own") != "own" else stage
    except (OSError, ValueError, KeyError, IndexError, TypeError) as problem:
        raise DataError(f"{record}: no record of training with its log ({problem!r}); run its rule again") from problem
    going_on = rate > 0 and seconds < GOING_ON * images / rate
    return Training(
        backbone=backbone,
        stage=stage,
        seconds=images / rate if going_on else seconds,
        images_seen=images,
        images_per_second=rate,
        going_on=going_on,
        machine=str(machine.get("gpu", machine["cpu"])),
    )


def backbone_of(arguments: Mapping[str, Any], stage: str) -> str:
    """models/demo/titok_s/stage2/global/seed1 -> titok_s; the recogniser belongs to none."""
    parts = Path(arguments["out"]).parts
    return parts[parts.index(stage) - 1] if stage != "recogniser" and stage in parts else ""


def training_cost(trainings: Iterable[Training]) -> pd.DataFrame:
    """A row a backbone and stage; then the method on top of stage 1, for each backbone and in all; then the published.

    seconds: mean of one model, seconds_std over models; hours: of all models of the row together. continued: models
    whose seconds are partly an estimate, see `read_training`.
    """
    runs = pd.DataFrame(list(trainings), columns=Training._fields)
    rows: list[dict[str, Any]] = []
    for backbone, own in runs.groupby("backbone"):
        for stage in (*STAGES.values(), TAUGHT):
            of_stage = own[own.stage == stage]
            if len(of_stage):
                rows.append({"what": "training", "backbone": backbone, "stage": stage, **spent(of_stage)})
    on_top = runs[runs.stage.isin(ON_TOP)]
    for backbone, group in on_top.groupby("backbone"):
        rows.append({"what": METHOD, "backbone": backbone, "stage": " + ".join(ON_TOP), **both(group)})
    if len(on_top):
        rows.append({"what": METHOD, "backbone": "all", "stage": " + ".join(ON_TOP), **total(on_top)})
    if len(runs):
        rows.append({"what": "all training", "backbone": "all", "stage": "all", **total(runs)})
    for printed in published_rows("training_cost").to_dict("records"):
        published = {"published_gpus": printed["gpus"], "published_hours": printed["hours"]}
        rows.append({"what": printed["what"], "backbone": "", "stage": "", **published})
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"models": "Int64", "continued": "Int64"})


def spent(runs: pd.DataFrame) -> dict[str, Any]:
    """Seconds and images of one model (means), and the totals, of models of one kind."""
    return {
        "seconds": runs.seconds.mean(),
        "seconds_std": runs.seconds.std(),
        "images_seen": runs.images_seen.mean(),
        "images_per_second": runs.images_per_second.mean(),
        **total(runs),
    }


def both(runs: pd.DataFrame) -> dict[str, Any]:
    """The same of stages that follow each other: one model goes through all of them."""
    means = runs.groupby("stage").seconds.mean()
    images = runs.groupby("stage").images_seen.mean()
    models = int(runs.groupby("stage").size().max())
    return {"seconds": means.sum(), "images_seen": images.sum(), **total(runs), "models": models}


def total(runs: pd.DataFrame) -> dict[str, Any]:
    return {
        "models": len(runs),
        "hours": runs.seconds.sum() / 3600,
        "continued": int(runs.going_on.sum()),
        "machine": "; ".join(sorted(set(runs.machine))),
    }
