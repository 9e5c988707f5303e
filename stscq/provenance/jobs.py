"""The jobs that a project would run now, with their commands: what records of earlier runs are compared with."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stscq.errors import StscqError
from stscq.provenance.runs import Place, place_of

INNER = "STSCQ_INNER"
"""In the environment of the Snakemake that is started here: it must not check records itself, for ever."""
NO_MATTER = {"--workers", "--save-seconds"}
"""Options that change how a job runs, and not what it writes."""
COMMAND = re.compile(
    r"^(?:local)?rule (\w+):$(?:(?!^(?:local)?rule \w+:$)[\s\S])*?^Shell command: .+? -m (stscq\.[\w.]+) (.*?) &> \S+$",
    re.MULTILINE,
)
"""A job in what Snakemake prints: its rule, and further down its command; jobs that run no module are passed over."""


class Job(NamedTuple):
    """rule: stage2; module: stscq.training.stage2; options: its command line as (option, value); place: its outputs."""

    rule: str
    module: str
    options: tuple[tuple[str, str], ...]
    place: Place

    @property
    def out(self) -> Path:
        return self.place.path

    @property
    def record(self) -> Path:
        return self.place.record(self.module)


def current_jobs(given: Mapping[str, Any]) -> list[Job]:
    """All jobs of `all` in the current folder, an input's producer before its users; `given` as with --config.

    Raises StscqError when Snakemake cannot make its plan.
    """
    done = snakemake(["-n", "--forceall", "--printshellcmds", "all"], given)
    if done.returncode:
        raise StscqError(f"snakemake cannot plan its jobs: {complaint(done.stdout + done.stderr)}")
    found = COMMAND.findall(done.stdout + done.stderr)
    return [job_of(rule, module, shlex.split(rest)) for rule, module, rest in found]


def job_of(rule: str, module: str, words: Sequence[str]) -> Job:
    options = options_of(words)
    return Job(rule, module, options, place_of({option.removeprefix("--"): value for option, value in options}))


def options_of(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """--lr 0.1 --shared -> (--lr, 0.1), (--shared, ); without those that do not matter, in order of their names."""
    found: list[tuple[str, str]] = []
    for word in words:
        if word.startswith("--"):
            found.append((word, ""))
        else:
            found[-1] = (found[-1][0], word)
    return tuple(sorted(option for option in found if option[0] not in NO_MATTER))


def snakemake(arguments: Sequence[str], given: Mapping[str, Any]) -> "subprocess.CompletedProcess[str]":
    """Snakemake in the current folder, beside one that may be running."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as config:
        json.dump(dict(given), config)
        config.flush()
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", *arguments, "--configfile", config.name],
            env={**os.environ, INNER: "1"},
            capture_output=True,
            text=True,
            check=False,
        )


def complaint(text: str) -> str:
    """What Snakemake says under the heading of an error, or else its last words."""
    found = re.search(r"Error[^\n]*:\n((?:.+\n?){1,3})", text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(found[1].split()) if found else lines[-1] if lines else "no message"
