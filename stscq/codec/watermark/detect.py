"""The mark of a picture, and how likely it would be found in one without it.

Without a mark each phase is even on the circle, for any picture, because its lattice's offset was drawn evenly. So the
cosines of n phases, with the signs of any one message, sum to `agreement` or more with a chance of at most

    min over t > 0 of  I0(t)^n exp(-t agreement)            (Chernoff; I0(t): the mean of exp(t cos), of an even phase)

and with 2^24 messages and every place at which a part of a picture is looked for, of at most that times their number.

Axes: N places, 8 x 8 tiles, PATTERNS patterns.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from stscq.codec.watermark.embed import PLACES
from stscq.codec.watermark.golay import BITS, MESSAGE, Message, as_message, decode
from stscq.codec.watermark.tiles import FRAME, OFFSETS, PATTERNS, SIDE, STEP, TILE, projections
from stscq.data.pixels import resize

FALSE = 1e-5
"""The most that the chance of a false detection may be, of one picture."""
LEAST = 51
"""Of FRAME: how much of a side is there at least where a part is looked for, 80 %."""
SHIFTS = (-0.5, -0.25, 0.0, 0.25, 0.5)
"""Pixels of FRAME: some programs (libvips) move a picture by half a pixel when they enlarge it."""
TILT = np.geomspace(0.1, 200, 100)
"""Values of t: any of them gives a bound, the best of them nearly the best."""
LOG_I0 = np.log(np.i0(TILT))
CARRIES = np.equal.outer(PLACES.ravel(), np.arange(BITS)).astype(np.float32)
"""1 where a projection carries a code bit: all projections x 48."""


class Place(NamedTuple):
    """Which part of a frame a picture is taken for: rows x columns pixels at (top, left), which need not be whole."""

    rows: int
    columns: int
    top: float
    left: float


class Detection(NamedTuple):
    """The best reading of a picture. log_chance: of finding one as good in a picture without a mark, at most (natural
    logarithm, at most 0)."""

    message: Message
    log_chance: float
    place: Place

    @property
    def found(self) -> bool:
        """Is it a mark?"""
        return self.log_chance <= np.log(FALSE)


WHOLE = Place(FRAME, FRAME, 0, 0)


def detect(picture: np.ndarray) -> Detection:
    """The best reading of H x W x 3 uint8: of the whole picture and, if that is no mark, of the whole moved a bit, and
    as a part of a marked one.

    Half of the chance of a false detection is for the whole picture, half for all else.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)  # luma in whole levels: little memory
    whole = best([whole_reading(grey, 0, 0)])
    if whole.found:
        return whole
    others = [whole_reading(grey, down, right) for down in SHIFTS for right in SHIFTS if down or right]
    others += [readings(grey, *shape) for shape in shapes_of_parts(*grey.shape)]
    return min(whole, best(others), key=lambda one: one.log_chance)


def shapes_of_parts(height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of every part of a frame that a picture of this shape may be, resized or not."""
    shapes = [(rows, round(rows * width / height)) for rows in range(LEAST, FRAME + 1)]
    return [shape for shape in shapes if LEAST <= shape[1] <= FRAME and shape != (FRAME, FRAME)]


class Readings(NamedTuple):
    """A picture at N places: the soft code bits, sums of the cosines of phases (N x 48); the number of phases (N)."""

    places: list[Place]
    soft: np.ndarray
    counts: np.ndarray


def best(found: Sequence[Readings]) -> Detection:
    """The likeliest of the readings of one picture."""
    places = [place for one in found for place in one.places]
    soft, counts = np.concatenate([one.soft for one in found]), np.concatenate([one.counts for one in found])
    tried = np.log(2.0) + np.log(len(places)) + MESSAGE * np.log(2.0)  # whole or not; the places; the messages
    most = log_bound(np.abs(soft).sum(1), counts) + tried  # no message agrees better than the sign of every bit
    worth = np.flatnonzero(most <= max(np.log(FALSE), most.min()))
    numbers, agreements = decode(soft[worth])
    chances = log_bound(agreements, counts[worth])
    at = int(chances.argmin())
    return Detection(as_message(int(numbers[at])), min(0.0, float(chances[at] + tried)), places[worth[at]])


def whole_reading(grey: np.ndarray, down: float, right: float) -> Readings:
    """A picture (luma) as the whole frame, moved back from so many pixels of the frame."""
    height, width = grey.shape
    if down or right:
        back = np.array([[1, 0, -right * width / FRAME], [0, 1, -down * height / FRAME]])
        grey = cv2.warpAffine(grey, back, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return readings(grey, FRAME, FRAME)._replace(places=[Place(FRAME, FRAME, down, right)])


def readings(grey: np.ndarray, rows: int, columns: int) -> Readings:
    """A picture (luma) as a part of this shape, at every place of whole pixels in the frame."""
    everywhere = projections(resize(grey, columns, rows))
    down, right = whole_tiles(rows), whole_tiles(columns)
    tiles = everywhere[down[:, None, :, None], right[None, :, None, :]]
    whole = (down >= 0)[:, None, :, None, None] & (right >= 0)[None, :, None, :, None]
    cosines = np.cos(np.float32(2 * np.pi / STEP) * (tiles - OFFSETS.astype(np.float32))) * whole
    places = [Place(rows, columns, top, left) for top in range(len(down)) for left in range(len(right))]
    counts = PATTERNS * whole.sum((2, 3, 4)).ravel()
    return Readings(places, cosines.reshape(len(places), -1) @ CARRIES, counts)


def whole_tiles(size: int) -> np.ndarray:
    """Where on an axis of so many pixels each of the 8 tiles begins, -1 where it is cut off; for every place of these
    pixels in the frame."""
    starts = TILE * np.arange(SIDE) - np.arange(FRAME - size + 1)[:, None]
    return np.where((starts >= 0) & (starts <= size - TILE), starts, -1)


def log_bound(agreements: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The logarithm of the chance that the cosines of so many even phases sum to an agreement or more, at most."""
    bounds = counts[:, None] * LOG_I0 - agreements[:, None] * TILT
    return np.minimum(0.0, bounds.min(1))
