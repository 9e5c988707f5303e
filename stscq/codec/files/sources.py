"""The images to compress: in files, folders, image stores, standard input; and the faces in them, by many processes."""

import os
import stat
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stscq.codec.files.archive import check_name, storable
from stscq.data.photos import read_face
from stscq.data.pixels import SUFFIXES, face
from stscq.errors import DataError, StscqError
from stscq.outputs import check_once, from_common_folder
from stscq.processes import worker_pool

STDIN = "-"
MAX_STDIN = 1 << 28
COMPRESSED = ".stscq"
"""What this program writes is passed over in folders: yesterday's archive may lie among the photos."""
CHUNK = 8
"""Photos that a process reads at a time."""


class Source(NamedTuple):
    """One image. name: in an archive; place: a file, or an image store, of which `row` is meant; content: of stdin."""

    name: str
    place: Path
    row: int | None = None
    content: bytes | None = None

    @property
    def shown_name(self) -> str:
        """The name in messages."""
        return self.name if self.content is not None or self.row is not None else str(self.place)

    def key(self) -> str:
        """Changes when the file does; "" for a file that is gone."""
        if self.content is not None:
            return "stdin"
        try:
            status = self.file.stat()
        except OSError:
            return ""
        return f"{status.st_size} {status.st_mtime_ns}"

    @property
    def file(self) -> Path:
        """Where its pixels are."""
        return self.place / "images.npy" if self.row is not None else self.place


class PhotoResult(NamedTuple):
    """The result of reading a photo. face: S x S x 3, or None with a problem; bytes: the size of the photo."""

    face: np.ndarray | None
    problem: str
    bytes: int


def list_sources(paths: Sequence[str]) -> list[Source]:
    """Every file in folders (all levels, in order of name; not hidden ones, nor ours), files, and image stores' images.

    A file that is no picture counts too: who reads it will name it as left out. Names are relative to the folder; when
    several paths are given, they begin with the folder's name, and where two would then be the same, all are relative
    to the innermost folder that holds all paths. Raises DataError when there is none or when one cannot be read,
    OutputError when one is given twice.
    """
    check_once(paths)
    inside = [list(sources_of(path)) for path in paths]
    if not any(inside):
        raise DataError(f"{', '.join(paths)}: no files in it (hidden ones are passed over)")
    sources = named(inside, short_labels(paths))
    if first_duplicate(sources) is not None:
        sources = named(inside, long_labels(paths))
    if (duplicate := first_duplicate(sources)) is not None:
        raise DataError(f"{duplicate.shown_name}: two images are called {duplicate.name!r}; rename one")
    for source in sources:
        check_name(source.name)
    return sources


def named(inside: Sequence[Sequence[Source]], labels: Sequence[str]) -> list[Source]:
    """The images of all paths in one list, with names that begin with the label of their path."""
    return [
        source._replace(name=storable("/".join(filter(None, (label, source.name)))))
        for label, sources in zip(labels, inside, strict=True)
        for source in sources
    ]


def short_labels(paths: Sequence[str]) -> list[str]:
    """A label for each path: its last part, or none for a folder that is the only one."""
    if len(paths) == 1 and Path(paths[0]).is_dir():
        return [""]
    places = [Path(path).resolve() if Path(path).is_dir() else Path(path) for path in paths]
    return ["stdin" if path == STDIN else place.name for path, place in zip(paths, places, strict=True)]


def long_labels(paths: Sequence[str]) -> list[str]:
    """A label for each path: relative to the innermost folder that holds them all."""
    files = [path for path in paths if path != STDIN]
    labels = dict(zip(files, from_common_folder(files), strict=True))
    return [labels.get(path, "stdin") for path in paths]


def first_duplicate(sources: Sequence[Source]) -> Source | None:
    """The first source whose name an earlier one has."""
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:
            return source
        seen.add(source.name)
    return None


def sources_of(path: str) -> Iterator[Source]:
    """Images with their names inside this path; "" for a file."""
    place = Path(path)
    if is_stream(path):
        yield Source("", place, content=read_stream(path))
    elif (place / "images.npy").is_file() and (place / "index.parquet").is_file():
        from stscq.data.store import open_store

        for row, image_id in enumerate(open_store(place).index.image_id):
            yield Source(f"{image_id}.png", place, row)
    elif place.is_dir():
        for folder, inner, files in os.walk(place, onerror=unreadable):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            for name in sorted(files):
                if not name.startswith(".") and Path(name).suffix != COMPRESSED:
                    file = Path(folder) / name
                    yield Source(file.relative_to(place).as_posix(), file)
    elif place.is_file():
        yield Source("", place)
    else:
        raise DataError(f"{path}: no such file or folder")


def is_stream(path: str) -> bool:
    """Can it only be read once, from its beginning: standard input, a pipe (as shells make of `<(command)`)?"""
    try:
        return path == STDIN or stat.S_ISFIFO(Path(path).stat().st_mode)
    except OSError:
        return False


def read_stream(path: str) -> bytes:
    """All of it. Raises DataError when standard input is closed, or brings more than MAX_STDIN bytes."""
    if path != STDIN:
        with Path(path).open("rb") as pipe:
            content = pipe.read(MAX_STDIN + 1)
    elif sys.stdin is None:
        raise DataError("standard input is closed; name a file")
    else:
        content = sys.stdin.buffer.read(MAX_STDIN + 1)
    if len(content) > MAX_STDIN:
        where = "standard input" if path == STDIN else path
        raise DataError(f"{where} has more than {MAX_STDIN:,} bytes; name a file")
    return content


def unreadable(problem: OSError) -> None:
    """For os.walk, which passes over folders that it cannot read: raises DataError instead."""
    raise DataError(f"{problem.filename}: cannot be read ({problem.strerror})") from problem


def stem_of(name: str) -> str:
    """The name of a photo without .jpg and the like; of anything else (1.5, photo.of.me) the whole name."""
    suffix = Path(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name


def read_faces(sources: Sequence[Source], size: int, aligned: bool, workers: int) -> Iterator[PhotoResult]:
    """The face of each source, in order, by `workers` processes; a photo that is unusable does not stop the others."""
    chunks = (sources[i : i + CHUNK] for i in range(0, len(sources), CHUNK))
    if workers == 1 or len(sources) <= CHUNK:
        for chunk in chunks:
            yield from read_chunk(chunk, size, aligned)
        return
    waiting: deque[Future[list[PhotoResult]]] = deque()
    with worker_pool(workers) as pool:
        try:
            waiting += (pool.submit(read_chunk, chunk, size, aligned) for chunk in islice(chunks, 3 * workers))
            while waiting:
                done = waiting.popleft().result()
                waiting += (pool.submit(read_chunk, chunk, size, aligned) for chunk in islice(chunks, 1))
                yield from done
        except BrokenProcessPool as problem:
            raise StscqError(
                "a process that read photos was killed (by the system, for memory?); use fewer --workers"
            ) from problem
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def read_chunk(sources: Sequence[Source], size: int, aligned: bool) -> list[PhotoResult]:
    """The part of `read_faces` that runs in a worker process."""
    return [read_source(source, size, aligned) for source in sources]


def read_source(source: Source, size: int, aligned: bool) -> PhotoResult:
    try:
        if source.row is not None:
            image = stored_image(source.place, source.row)
            return PhotoResult(face(image, size), "", image.nbytes)
        content = source.content
        size_in_bytes = source.place.stat().st_size if content is None else len(content)
        if not size_in_bytes:
            raise DataError("empty")
        return PhotoResult(read_face(source.place if content is None else content, size, aligned), "", size_in_bytes)
    except DataError as problem:
        return PhotoResult(None, str(problem), 0)
    except OSError as problem:
        return PhotoResult(None, problem.strerror or str(problem), 0)


def stored_image(store: Path, row: int) -> np.ndarray:
    """One image of a store, of whatever size the store has."""
    images = np.load(store / "images.npy", mmap_mode="r", allow_pickle=False)
    return np.array(images[row])
