"""`stscq compress`, `decompress`, `inspect` and `verify`: what they print, and the code they end with.

0: all done. 1: an error, in one line; nothing was written. 2: wrong options. 3: done, but some images were left out.
130: stopped by ctrl-C.
"""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from stscq.cli_tools import threads
from stscq.codec.api import Codec
from stscq.codec.bundle.description import Selection
from stscq.codec.bundle.find import files_of
from stscq.codec.bundle.pulled import named_bundle
from stscq.codec.bundle.shipped import SHIPPED
from stscq.codec.files.compress import compress_many, compress_one
from stscq.codec.files.compressed_file import CompressedFile
from stscq.codec.files.decompress import to_file, to_folder, to_stdout
from stscq.codec.files.early import EarlyFace
from stscq.codec.files.inspect import describe
from stscq.codec.files.inspect import verify as verify_one
from stscq.codec.files.names import file_to_write
from stscq.codec.files.sources import STDIN, Source, list_sources
from stscq.errors import StscqError
from stscq.outputs import check_once, check_places, ends_as_folder, refuse_to_replace

LEFT_OUT = 3


def compress(
    paths: Sequence[str],
    out: str,
    model: Path | str | None,
    selection: Selection | None,
    aligned: bool,
    workers: int | None,
    as_json: bool,
    force: bool = False,
    effort: int = 0,
    early: EarlyFace | None = None,
) -> int:
    """One photo makes a file of one image; a folder, a store or several paths make an archive.

    force: a file OUT may be replaced, unless it is an input. effort: see `Codec.with_effort`. early: what is reading
    the one photo already.
    """
    torch.set_num_threads(threads(otherwise=os.cpu_count() or 1))
    codec = Codec.from_pretrained(SHIPPED if model is None else model, device=device())
    codec = codec.with_effort(effort) if effort else codec
    selection = selection or codec.bundle.selection
    codec.quantiser(selection)  # a selection that the model cannot do is told before any photo is read
    out = file_to_write(paths, out)
    sources = list_sources(paths)
    if out != STDIN:
        refuse_to_replace(check_places([Path(out)], inputs_of(codec, sources)), force)
    if len(paths) == 1 and not Path(paths[0]).is_dir():
        done = compress_one(codec, sources[0], out, selection, aligned, force, early)
    else:
        easy = aligned or sources[0].row is not None
        done = compress_many(codec, sources, out, selection, aligned, workers or processes(len(sources), easy), force)
    pixels = codec.bundle.sizes.image_size**2
    tell(
        {
            **done._asdict(),
            "images_a_second": round(done.images_a_second, 1),
            "bits_a_pixel": round(8 * done.bytes / done.images / pixels, 5),
            "model": codec.bundle.name,
            "selection": selection,
        },
        f"{shown_name(out)}: {number_of(done.images)}, {done.photo_bytes:,} bytes became {done.bytes:,} "
        f"({done.payload_bytes / done.images:.1f} of payload an image)"
        + (f"; {done.images_a_second:.0f} images a second" if done.images > 1 else "")
        + (f"; {len(done.left_out)} left out" if done.left_out else ""),
        as_json,
        err=out == STDIN,
    )
    return LEFT_OUT if done.left_out else 0


def inputs_of(codec: Codec, sources: Sequence[Source]) -> Iterator[Path]:
    """Every file that is read, of photos and of the model."""
    yield from files_of(codec.bundle)
    for source in sources:
        yield source.file
    yield from {source.place / "index.parquet" for source in sources if source.row is not None}


def decompress(
    files: Sequence[str],
    out: str,
    model: Path | str | None,
    only: Sequence[str],
    workers: int | None,
    as_json: bool,
    force: bool = False,
    watermark: bool = True,
) -> int:
    """A file of one image makes a picture; archives, several files, or an OUT that is or ends like a folder, fill it.

    force: files in the way may be replaced, unless they are inputs. watermark: the pictures get the invisible mark.
    """
    torch.set_num_threads(threads(otherwise=os.cpu_count() or 1))
    if not out:
        raise StscqError("--out is empty (a variable that is not set?); name a file or a folder")
    check_once(files)
    allow_open(len(files))
    compressed = [CompressedFile(file) for file in files]
    bundle = None if model is None else named_bundle(model)
    folder = ends_as_folder(out) or Path(out).is_dir() or len(files) > 1 or bool(only)
    if folder or (compressed[0].archive is not None and out != STDIN):
        if out == STDIN:
            raise StscqError("--out -: only one image fits into standard output; name a folder")
        done = to_folder(compressed, Path(out), bundle, only, workers or processes(1000), force, watermark)
    elif out == STDIN:
        done = to_stdout(compressed[0], bundle, watermark)
    else:
        done = to_file(compressed[0], Path(out), bundle, force, watermark)
    there = f"; {number_of(done.there)} there already" if done.there else ""
    text = f"{shown_name(out)}: {number_of(done.images)} from {done.bytes:,} bytes{there}"
    tell(done._asdict(), text, as_json, err=out == STDIN)
    return 0


def inspect(files: Sequence[str], model: Path | str | None, names: bool, as_json: bool) -> int:
    """Prints what is in each file."""
    bundle = None if model is None else named_bundle(model)
    for file in files:
        facts = describe(file, bundle, names)
        tell(facts, "\n".join(f"{key}: {value}" for key, value in facts.items()), as_json)
    return 0


def verify(paths: Sequence[str], model: Path | str | None, as_json: bool) -> int:
    """Prints for each path whether it is whole; 1 when one is not."""
    torch.set_num_threads(threads(otherwise=os.cpu_count() or 1))
    bundle = None if model is None else named_bundle(model)
    code = 0
    for path in paths:
        try:
            facts = verify_one(path, bundle)
        except StscqError as problem:
            tell({"file": path, "problem": str(problem)}, f"error: {problem}", as_json, err=not as_json)
            code = 1
        else:
            tell({**facts, "problem": None}, f"{path}: whole ({facts['checked']})", as_json)
    return code


def allow_open(files: int) -> None:
    """Archives stay open while they are read: as many at a time as the system lets us ask for."""
    try:
        import resource  # not on Windows, where there is no such limit
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + 256
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def tell(facts: dict[str, Any], text: str, as_json: bool, err: bool = False) -> None:
    """One line of JSON, or text for people; on standard error where standard output holds the result itself."""
    print(json.dumps(facts) if as_json else text, file=sys.stderr if err else sys.stdout)


def shown_name(out: str) -> str:
    """OUT in messages."""
    return "standard output" if out == STDIN else out


def number_of(images: int) -> str:
    return "1 image" if images == 1 else f"{images:,} images"


def processes(images: int, easy: bool = True) -> int:
    """How many to start: one a core, at most 8; one where starting more takes longer than reading so few images.

    easy: the images are aligned faces, which are read quickly."""
    return min(8, os.cpu_count() or 1) if images >= (1000 if easy else 16) else 1


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
