"""Nearest entries, exactly: over every group (NN) or inside one group an image (CR).

Axes: B images, M groups, T tokens, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels.
float32 products decide wherever their rounding cannot matter, float64 decides the rest, so the result is that of the
plain float64 definition (`reference`) for any batch, thread count and device. docs/search.md tells how and how fast.
"""

from stscq.quantization.search.books import Books
from stscq.quantization.search.nearest import (
    Measured,
    group_errors,
    measured_cr,
    measured_nn,
    search_cr,
    search_group,
    search_nn,
)
from stscq.quantization.search.plain import Assignment, distances, normalise, on_surface

__all__ = [
    "Assignment",
    "Books",
    "Measured",
    "distances",
    "group_errors",
    "measured_cr",
    "measured_nn",
    "normalise",
    "on_surface",
    "search_cr",
    "search_group",
    "search_nn",
]
