"""Nearest entries, exactly: over every group (NN) or inside one group an image (CR).

Axes: B images, M groups, T tokens, S codebooks a group (T, or 1 shared by all tokens), K entries, d channels.
float32 products decide wherever their rounding cannot matter, float64 decides the rest, so the result is that of the
plain float64 definition (`reference`) for any batch, thread count and device. docs/search.md tells how and how fast.

    reference      the definition: distances, and the search written out in float64
    prepared       codebooks as the search reads them, with their norms
    unequal        codebooks of unequal size, by size
    nearest        the search itself, from top to bottom: NN, CR, and which groups are ambiguous
    totals         groups by the summed top scores of their tokens
    squares        groups by squared error, where distances are inner products
    entries        the nearest entries inside given groups, and which are ambiguous
    one            the same for one image that is searched again and again, without the exactness
    scores         what a backend computes (tiles, top scores), and how far rounding can have moved it
    torch_backend, cuda_backend (Triton), cpu_backend (with cpu_kernel, which LLVM compiles, and threads)
"""

from stscq.quantization.search.nearest import (
    Measured,
    group_errors,
    measured_cr,
    measured_nn,
    search_cr,
    search_group,
    search_nn,
)
from stscq.quantization.search.one import nearest_of_one
from stscq.quantization.search.prepared import PreparedCodebooks
from stscq.quantization.search.reference import Assignment, distances, normalise, on_surface
from stscq.quantization.search.unequal import Prepared, UnequalCodebooks, prepare_codebooks

__all__ = [
    "Assignment",
    "Measured",
    "Prepared",
    "PreparedCodebooks",
    "UnequalCodebooks",
    "distances",
    "group_errors",
    "measured_cr",
    "measured_nn",
    "nearest_of_one",
    "normalise",
    "on_surface",
    "prepare_codebooks",
    "search_cr",
    "search_group",
    "search_nn",
]
