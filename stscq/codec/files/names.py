"""What the pictures of compressed files are called: distinct on every file system, and as short as that allows."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from stscq.codec.files.compressed_file import Opened
from stscq.codec.files.sources import long_labels, stem_of
from stscq.errors import BitstreamError
from stscq.outputs import folded


def image_names(files: Sequence[Opened]) -> list[str]:
    """What to call every image of these files, one file after the other.

    As the files do; where two would then be the same, each begins with the path of its file, seen from the innermost
    folder that holds them all. Raises BitstreamError when two are the same nevertheless.
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


def named(files: Sequence[Opened], labels: Sequence[str]) -> list[str]:
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
    found = {n: path for n, path in short.items() if times[folded(path)] == 1 and folded(path) not in folders}
    taken = folders | {folded(path) for path in found.values()}
    tried: Counter[str] = Counter()
    for name in names:
        if name not in found:
            path = f"{name}.png"
            while folded(path) in taken:
                tried[folded(name)] += 1
                path = f"{name}-{tried[folded(name)] + 1}.png"
            found[name] = path
            taken.add(folded(path))
    return {name: found[name] for name in names}


def folders_of(name: str) -> Iterator[str]:
    """a/b/c.png -> a/b, a"""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
