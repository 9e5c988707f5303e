"""A single photo is read by a second process while this one still imports torch: some half a second less to wait.

No torch here. What is odd about paths or model is not told here, but by those who read them afterwards.
"""

import json
import os
import signal
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from stscq.codec.bundle.shipped import SHIPPED
from stscq.codec.files.sources import PhotoResult, Source, read_source
from stscq.processes import worker_pool

MOST_PIXELS = 1024
"""Of a side; a larger face is read afterwards, when the model has been checked."""


class EarlyFace(NamedTuple):
    """The face of the photo in file `place`, size x size pixels, soon."""

    place: Path
    size: int
    future: Future[PhotoResult]

    def of(self, source: Source, size: int) -> PhotoResult | None:
        """It, if it is what is wanted and could be read."""
        if (source.content, source.row, source.place, size) != (None, None, self.place, self.size):
            return None
        try:
            read = self.future.result()
        except BrokenProcessPool:
            return None
        # What is wrong is told by this process, which may have what that one lacks: open files, as /dev/fd/3.
        return None if read.face is None else read


def start_reading(paths: Sequence[str], model: str | None) -> EarlyFace | None:
    """Begin to look for the face in the one file that PATHS name, for MODEL or the shipped one.

    None for anything else, and with a single core.
    """
    if len(paths) != 1 or not Path(paths[0]).is_file() or (os.cpu_count() or 1) < 2:
        return None
    try:
        size = json.loads((Path(model or SHIPPED) / "bundle.json").read_text(encoding="utf-8"))["image_size"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(size, int) or not 0 < size <= MOST_PIXELS:
        return None
    place = Path(paths[0])
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process inherits it, and dies with this one in silence
    try:
        pool = worker_pool(1)
        future = pool.submit(read_source, Source("", place), size, aligned=False)
        pool.shutdown(wait=False)  # after this photo
    except (OSError, RuntimeError, NotImplementedError, ImportError):  # no process here: this one reads it later
        return None
    finally:
        signal.signal(signal.SIGINT, heard)
    return EarlyFace(place, size, future)
