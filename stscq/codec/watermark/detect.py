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
TILT = np.geomspace(0.05, 200, 400)
"""Values of t: any of them gives a bound, the best of them nearly the best."""
LOG_I0 = np.log(np.i0(TILT))
TURN = np.exp(-2j * np.pi / STEP * OFFSETS)
"""Turns the phases of all lattices to 0 for a code bit of 0."""
CARRIES = np.equal.outer(PLACES.ravel(), np.arange(BITS)).astype(np.float64)
"""1 where a projection carries a code bit: all projections x 48."""


class Place(NamedTuple):
    """Which part of a frame a picture is taken for: rows x columns pixels at (top, left)."""

    rows: int
    columns: int
    top: int
    left: int


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
    """The best reading of H x W x 3 uint8: of the whole picture and, if that is no mark, as a part of a marked one.

    Half of the chance of a false detection is for either.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)  # luma in whole levels: little memory
    whole = best(grey, [(FRAME, FRAME)])
    shapes = [] if whole.found else shapes_of_parts(*grey.shape)
    return min(whole, best(grey, shapes), key=lambda one: one.log_chance) if shapes else whole


def shapes_of_parts(height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of every part of a frame that a picture of this shape may be, resized or not."""
    shapes = [(rows, round(rows * width / height)) for rows in range(LEAST, FRAME + 1)]
    return [shape for shape in shapes if LEAST <= shape[1] <= FRAME]


def best(grey: np.ndarray, shapes: Sequence[tuple[int, int]]) -> Detection:
    """The likeliest reading of a picture (luma, H x W) as a part of any of these shapes, at any place."""
    places = [place for shape in shapes for place in places_of(*shape)]
    soft, counts = (np.concatenate(found) for found in zip(*(readings(grey, *shape) for shape in shapes), strict=True))
    tried = np.log(2.0) + np.log(len(places)) + MESSAGE * np.log(2.0)  # the whole or parts; the places; the messages
    most = log_bound(np.abs(soft).sum(1), counts) + tried  # no message agrees better than the sign of every bit
    worth = np.flatnonzero(most <= max(np.log(FALSE), most.min()))
    numbers, agreements = decode(soft[worth])
    chances = log_bound(agreements, counts[worth])
    at = int(chances.argmin())
    return Detection(as_message(int(numbers[at])), min(0.0, float(chances[at] + tried)), places[worth[at]])


def places_of(rows: int, columns: int) -> list[Place]:
    """In the order of `readings`."""
    return [Place(rows, columns, top, left) for top in range(FRAME - rows + 1) for left in range(FRAME - columns + 1)]


def readings(grey: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture (luma) as a part of this shape, at each of its N places: the soft code bits, sums of the cosines of
    phases (N x 48), and the number of phases (N)."""
    phases = np.exp(2j * np.pi / STEP * projections(resize(grey, columns, rows)))
    phases = np.pad(phases, ((0, 1), (0, 1), (0, 0)))  # the last row and column, -1 in `whole_tiles`, count nothing
    down, right = whole_tiles(rows), whole_tiles(columns)
    tiles = phases[down[:, None, :, None], right[None, :, None, :]]
    soft = (tiles * TURN).real.reshape(-1, CARRIES.shape[0]) @ CARRIES
    counts = PATTERNS * np.outer((down >= 0).sum(1), (right >= 0).sum(1))
    return soft, counts.ravel()


def whole_tiles(size: int) -> np.ndarray:
    """Where on an axis of so many pixels each of the 8 tiles begins, -1 where it is cut off; for every place of these
    pixels in the frame."""
    starts = TILE * np.arange(SIDE) - np.arange(FRAME - size + 1)[:, None]
    return np.where((starts >= 0) & (starts <= size - TILE), starts, -1)


def log_bound(agreements: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The logarithm of the chance that the cosines of so many even phases sum to an agreement or more, at most."""
    bounds = counts[:, None] * LOG_I0 - agreements[:, None] * TILT
    return np.minimum(0.0, bounds.min(1))
