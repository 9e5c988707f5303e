"""DVC's view of the workflow: one stage for each step of each variant, made from the jobs that Snakemake plans.

dvc.yaml names, for every stage, the command, what it reads and the folder it writes. What it runs with, the numbers
and the code of its jobs, stands in plan.json, which the first stage writes: DVC compares it leaf by leaf. So parameters
of a profile count as those of params.yaml do, and a comment in the code counts for nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stscq.provenance.code import code_fingerprint
from stscq.provenance.jobs import Job
from stscq.provenance.runs import KINDS

PLAN = "plan.json"
"""JSON, since DVC reads it anew for every stage, and takes a hundred times as long for YAML."""
METRICS = "metrics.json"
STSCQ = "python -m stscq.cli"
"""Of the checkout, whichever other one the command `stscq` may belong to."""
CODE = ("Snakefile", "workflow", "stscq", "config")
"""What the plan depends on besides params.yaml."""


class Stage(NamedTuple):
    """Jobs that write below one folder: the seeds (and the sets) of one step of one variant."""

    out: Path
    jobs: Sequence[Job]

    @property
    def name(self) -> str:
        """data/demo/evaluation/titok_s/global -> evaluation-titok_s-global; models/demo/ibq/stage1 -> ibq-stage1."""
        return "-".join(self.out.with_suffix("").parts[2:])


def stages(jobs: Sequence[Job]) -> list[Stage]:
    """In order of their folders."""
    found: dict[Path, list[Job]] = {}
    for job in jobs:
        found.setdefault(folder_of(job), []).append(job)
    return [Stage(out, sorted(found[out])) for out in sorted(found)]


def folder_of(job: Job) -> Path:
    """Without the seed, and for what is done on a set of images without the set. A file right below the profile's
    folder stands for itself."""
    out = job.out
    if job.place.kind != "out":
        return out if len(out.parts) == 3 else out.parent
    if out.parts[2:3] == ("peers",):  # operating points lie inside the folder of their codec, and DVC's may not nest
        return Path(*out.parts[:4])
    if out.name.startswith("seed"):
        out = out.parent
        return out.parent if out.parts[2] in ON_SETS else out
    return out


ON_SETS = ("evaluation", "int8", "symbols")
"""Folders of data/PROFILE whose jobs write to .../SET/seedN."""


def plan(found: Sequence[Stage]) -> dict[str, Any]:
    """What stands in plan.json: stage -> code of its modules, and options of each job by the folder it writes."""
    return {
        stage.name: {
            "code": {module: code_fingerprint(module) for module in sorted({job.module for job in stage.jobs})},
            "jobs": {str(job.out): {option[2:]: value for option, value in job.options} for job in stage.jobs},
        }
        for stage in found
    }


def reads(stage: Stage, others: Sequence[Stage]) -> list[str]:
    """Folders of other stages and files from outside that a stage's options name."""
    words = {value for job in stage.jobs for option, value in job.options if option.removeprefix("--") not in KINDS}
    values = {Path(word) for word in words if word and word[0] not in "{["}  # the others are JSON
    own = {
        str(other.out)
        for other in others
        for value in values
        if other.out != stage.out and (value.is_relative_to(other.out) or other.out.is_relative_to(value))
    }
    outside = {str(v) for v in values if v.is_file() and not any(v.is_relative_to(other.out) for other in others)}
    return sorted(own | outside)


def dvc_yaml(found: Sequence[Stage]) -> dict[str, Any]:
    """The content of dvc.yaml. Results are git's, data and models DVC's."""
    content: dict[str, Any] = {
        "plan": {
            "desc": "checks params.yaml before anything is removed; numbers and code of every other stage",
            "cmd": f"{STSCQ} plan",
            "deps": list(CODE),
            "params": [{"params.yaml": None}],
            "outs": [{PLAN: {"cache": False}}],
        }
    }
    for stage in found:
        # persist: what is current in it stays; `stscq make` runs the rest again, by their records.
        cache = {"cache": False} if stage.out.parts[0] == "results" else {}
        content[stage.name] = {
            "cmd": f"{STSCQ} make {stage.name}",
            "deps": reads(stage, found),
            "params": [{PLAN: [stage.name]}],
            "outs": [{str(stage.out): {**cache, "persist": True}}],
        }
    results = [stage.out for stage in found if stage.out.parts[0] == "results"]
    figures = [str(out) for out in results if out.name == "figures"]
    metrics = [str(out / METRICS) for out in results if out.name == "tables"]
    return {"stages": content, "metrics": metrics, "plots": figures}
