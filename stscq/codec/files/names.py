"""Names of results: of a compressed file, and of the pictures of compressed files, which are distinct on every file
system and as short as that allows."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from stscq.codec.files.compressed_file import CompressedFile
from stscq.codec.files.sources import STDIN, long_labels, stem_of
from stscq.errors import BitstreamError, StscqError
from stscq.outputs import ends_as_folder, folded


def file_to_write(paths: Sequence[str], out: str) -> str:
    """The compressed file to write: OUT, or, where OUT ends like a folder, one in it with the name of the only path."""
    if not out:
        raise StscqError("--out is empty (a variable that is not set?); name a file")
    if out == STDIN:
        return out
    if not ends_as_folder(out):
        if Path(out).is_dir():
            raise StscqError(f"{out}: a folder; name the file to write, such as {out}.stscq, or end it with a slash")
        return out
    if len(paths) > 1:
        raise StscqError(f"{out}: a folder; several photos make one archive: name it, such as {Path(out)}/faces.stscq")
    one = Path(paths[0])
    name = "stdin" if paths[0] == STDIN else one.resolve().name if one.is_dir() else stem_of(one.name)
    return str(Path(out) / f"{name}.stscq")


def image_names(files: Sequence[CompressedFile]) -> list[str]:
    """A name for every image of these files, one file after the other.

    It is the one in the file; where two would then be the same, each begins with the path of its file, seen from the
    innermost folder that holds them all. Raises BitstreamError when two are the same nevertheless.
    """
    labels = [one.names[0] if one.archive is None else "" for one in files]
    names = named(files, labels)
    if len(set(names)) == len(names):
        return names
    paths = [one.path for one in files]
    names = named(files, [str(Path(label).with_suffix("")) for label in long_labels(paths)])
    if len(set(names)) == len(names):
        return names
    raise BitstreamError(f"{', '.join(paths)}: two images have the same name; decompress one file at a time")


def named(files: Sequence[CompressedFile], labels: Sequence[str]) -> list[str]:
    """The images of all files. labels: what a file's one image is called (before .png), or the folder of an archive."""
    return [
        f"{label}.png" if one.archive is None else f"{label}/{name}".lstrip("/")
        for one, label in zip(files, labels, strict=True)
        for name in one.names
    ]


def picture_paths(names: Sequence[str]) -> dict[str, str]:
    """faces/1.jpg -> faces/1.png; where another picture or a folder has that path, faces/1.jpg.png, faces/1.jpg-2.png.

    No two are one file on any file system (see `folded`), nor is one a folder of another. `names` are distinct.
    """
    folders = {folded(folder) for name in names for folder in folders_of(name)}
    short = {name: f"{stem_of(name)}.png" for name in names}
    times = Counter(folded(path) for path in short.values())
    paths = {n: path for n, path in short.items() if times[folded(path)] == 1 and folded(path) not in folders}
    taken = folders | {folded(path) for path in paths.values()}
    attempts: Counter[str] = Counter()
    for name in names:
        if name not in paths:
            path = f"{name}.png"
            while folded(path) in taken:
                attempts[folded(name)] += 1
                path = f"{name}-{attempts[folded(name)] + 1}.png"
            paths[name] = path
            taken.add(folded(path))
    return {name: paths[name] for name in names}


def folders_of(name: str) -> Iterator[str]:
    """a/b/c.png -> a/b, a"""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
