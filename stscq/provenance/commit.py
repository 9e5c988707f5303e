"""Which commit of the project a run was of, or why that is unknown."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stscq.provenance.code import ROOT

DECIDING = ("--", ".", ":!results", ":!stscq/tokenizers", ":!stscq/recognisers", ":!stscq/model", ":!dvc.lock")
"""Of the tracked files, all but those that runs write."""
NO_CHECKOUT = "no git: the project is no checkout, but an unpacked archive, say"
DVC_WITHOUT_GIT = "DVC works without git after `dvc config --local core.no_scm true`"


class NoCommitError(Exception):
    """Says why, in one line."""


def git_state() -> dict[str, Any]:
    """Commit of the project, and whether code or parameters differed from it; where that is unknown nulls, and why."""
    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT.parent.resolve():
            raise NoCommitError("no git: the project is no checkout of its own")
        commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no", *DECIDING)
    except NoCommitError as problem:
        return {"commit": None, "dirty": None, "why": str(problem)}
    return {"commit": commit, "dirty": bool(changes)}


def git(*arguments: str) -> str:
    """What git says of the project. Raises NoCommitError."""
    command = ["git", *arguments]
    # Its messages are read here; without optional locks it does not rewrite its index, which a dry run must not.
    environment = {**os.environ, "LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            command,
            cwd=ROOT.parent,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
        )
    except OSError as problem:
        raise NoCommitError(f"no git: it cannot be started ({problem.strerror})") from problem
    if "not a git repository" in done.stderr:
        raise NoCommitError(NO_CHECKOUT)
    said = " ".join(done.stderr.split())
    if done.returncode:
        raise NoCommitError(f"git: {said.removeprefix('fatal: ')}")  # of somebody else's clone it says what to type
    return done.stdout.strip()


def describe_commit(state: Mapping[str, Any]) -> str:
    """What `git_state` found, for people."""
    if not state["commit"]:
        return str(state.get("why", "no git"))
    return state["commit"][:12] + (" with changes that were not committed" if state["dirty"] else "")


def tell_if_commit_is_unknown() -> None:
    """Once a run, on stderr: its records cannot say which code made what."""
    if why := git_state().get("why"):
        hint = f"; {DVC_WITHOUT_GIT}" if why == NO_CHECKOUT else ""
        print(f"records: without a commit: {why}{hint}", file=sys.stderr)
