"""The command `stscq`: what people call by hand. The workflow calls the modules themselves."""

import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from stscq import __version__
from stscq.errors import StscqError

app = typer.Typer(
    help="Face images at 0.004 to 0.1 bits a pixel: switchable, token-specific codebooks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def faces(
    people: Annotated[Path, typer.Argument(help="PEOPLE/NAME/*.jpg, or a folder with train.rec")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The image store to write")],
    size: Annotated[int, typer.Option(min=16, help="Pixels of a side")] = 64,
    most_corrupt: Annotated[int, typer.Option(min=0, help="Damaged records of a train.rec that may be left out")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read a train.rec")] = 1,
) -> None:
    """Detect and align the faces of your own photos, or read InsightFace's train.rec, into an image store."""
    from stscq.data.prepare import main as prepare

    prepare(str(people), size, out, most_corrupt, workers)


@app.command()
def params(
    profile: Annotated[str, typer.Option(help="demo, or the name of a file in config/")] = "demo",
    folder: Annotated[Path, typer.Option(help="Where params.yaml and config/ are")] = Path(),
) -> None:
    """Print params.yaml with a profile laid over it, after checking it."""
    from stscq.params import check, with_profile

    merged = with_profile(yaml.safe_load((folder / "params.yaml").read_text()), folder / "config", {"profile": profile})
    check(merged)
    typer.echo(yaml.safe_dump(merged, sort_keys=False))


def main() -> None:
    try:
        app()
    except StscqError as problem:
        sys.exit(f"error: {problem}")


if __name__ == "__main__":
    main()
