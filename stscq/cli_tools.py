"""What all command-line entry points share: options from a function's arguments, and errors as one line."""

import atexit
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import typer

from stscq import ranks
from stscq.errors import StscqError


def run(main: Callable[..., None]) -> None:
    """Run `main` with one option for each of its arguments; a StscqError ends the process with one line and code 1.

    A module of this package leaves a record of the run beside its outputs (stscq.provenance.runs). Threads follow
    OMP_NUM_THREADS, one when it is not set: jobs of the workflow run side by side.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    end_quickly()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(options_only(recorded(main)))
    try:
        number = threads(otherwise=1)
        torch = sys.modules.get("torch")  # a job that only reads results does not import it, and need not wait for it
        if torch is not None:
            torch.set_num_threads(number)
        app()
    except StscqError as problem:
        sys.exit(f"error: {problem}")


def end_quickly() -> None:
    """At its end Python looks through all objects for cycles, and torch has 160,000: a third of a second."""
    atexit.register(gc.freeze)


@contextmanager
def without_collecting() -> Iterator[None]:
    """For imports of torch, a seventh of whose time else goes into looking for cycles."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def threads(otherwise: int) -> int:
    """The number in OMP_NUM_THREADS, or the first of its list (4,1: for loops within loops); `otherwise` if empty.

    Raises StscqError when it is no number.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").strip()
    first = text.split(",")[0].strip()
    if not text:
        return otherwise
    if not first.isdecimal() or int(first) == 0:
        raise StscqError(f"OMP_NUM_THREADS={text}: no number of threads; set it to one from 1 on, or unset it")
    return int(first)


def recorded(main: Callable[..., None]) -> Callable[..., None]:
    """`main`, and then the record of its run: one for all processes that train together."""
    spec = sys.modules["__main__"].__spec__
    module = spec.name if spec is not None else ""
    if not module.startswith("stscq.") or not ranks.is_main():
        return main

    @wraps(main)
    def with_record(**arguments: Any) -> None:
        from stscq.provenance.runs import one_at_a_time, place_of, write_record  # no need to wait for it with --help

        with one_at_a_time(module, place_of(arguments)[1]):
            began = time.time()
            main(**arguments)
            write_record(module, arguments, began)

    return with_record


def options_only(main: Callable[..., None]) -> Callable[..., None]:
    """Typer makes arguments without a default positional; here every one is a named option."""
    import inspect

    signature = inspect.signature(main)
    main.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            p.replace(kind=p.KEYWORD_ONLY, default=typer.Option(... if p.default is p.empty else p.default))
            for p in signature.parameters.values()
        ]
    )
    return main
