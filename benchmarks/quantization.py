"""How fast is the search over all groups? `python -m benchmarks.quantization --out benchmarks/results`

By turns in one run, on random codebooks: one read of the codebooks (their sum), the bare matrix products of the same
shapes (a tile at a time into the same memory, in the faster of two layouts; nothing is done with them), the search, and
the plain searches. OMP_NUM_THREADS sets the threads.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import torch
from torch import Tensor

from benchmarks.plain.search import cdist_distances, einsum_distances, plain_nn
from benchmarks.timing import DEVICE, extra_mib, medians, report
from stscq.backbones.base import Metric
from stscq.cli_tools import run
from stscq.errors import StscqError
from stscq.quantization.search import PreparedCodebooks, cpu_kernel, normalise, search_nn
from stscq.quantization.search.scores import BUDGET


class Sizes(NamedTuple):
    """Axes as in stscq.quantization."""

    M: int
    T: int
    K: int
    d: int
    B: int


TITOK_S = Sizes(256, 128, 256, 12, 32)
MASKGIT = Sizes(16, 256, 1024, 256, 32)
BASE = Sizes(16, 128, 256, 12, 32)
PUBLISHED: list[tuple[str, Sizes, Metric]] = [
    ("TiTok-S", TITOK_S, "cosine"),
    ("TiTok-S", TITOK_S._replace(B=1), "cosine"),
    ("MaskGIT-VQGAN", MASKGIT._replace(M=4), "euclidean"),
    ("MaskGIT-VQGAN", MASKGIT._replace(M=4, B=1), "euclidean"),
    ("MaskGIT-VQGAN", MASKGIT, "euclidean"),
    ("MaskGIT-VQGAN", MASKGIT._replace(B=1), "euclidean"),
]
GROWING = [
    ("M grows", BASE._replace(M=M, B=B), "cosine") for B in (1, 32) for M in (1, 4, 16, 64)
] + [
    (f"{axis} grows", BASE._replace(**{axis: size}), "cosine")
    for axis, values in {"K": (64, 1024), "T": (32, 256), "d": (4, 64, 256), "B": (1, 4, 256)}.items()
    for size in values
]  # fmt: skip
TINY: list[tuple[str, Sizes, Metric]] = [
    ("tiny", Sizes(3, 4, 8, 5, 2), "cosine"), ("M grows", Sizes(1, 4, 8, 5, 2), "cosine"),
    ("M grows", Sizes(2, 4, 8, 5, 2), "cosine"),
]  # fmt: skip
ABOUT = (
    "Milliseconds, medians. read: one sum over the codebooks. ours: with norms known from an earlier search (cosine: "
    "of l2-normalised entries, as stage 2 saves them, which need none); first: with none known, as on codebooks that "
    "have just changed. plain: the faster of einsum and cdist, group by group. extra MiB: the most memory that our "
    "search held besides its inputs, norms included."
)


def bare(z: Tensor, codebooks: Tensor, columns: bool) -> None:
    """The products alone: T x B x d latents with every group."""
    T, B = z.shape[:2]
    K = codebooks.shape[2]
    books = max(1, min(T, BUDGET // (B * K)))
    groups = max(1, BUDGET // (B * K * T))
    room = torch.empty(groups * books * B * K, device=z.device)
    wide = z.repeat(groups, 1, 1)
    for slab in codebooks.split(groups):
        flat = slab.flatten(0, 1)
        for e, latents in zip(flat.split(groups * books), wide[: len(flat)].split(groups * books), strict=True):
            if columns:
                torch.bmm(e, latents.mT, out=room[: len(e) * B * K].view(-1, K, B))
            else:
                torch.bmm(latents, e.mT, out=room[: len(e) * B * K].view(-1, B, K))


def measure(name: str, sizes: Sizes, metric: Metric, repeats: int) -> dict[str, Any]:
    """Raises StscqError when ours and the plain search differ in more than ties of float32."""
    M, T, K, d, B = sizes
    codebooks = torch.empty((M, T, K, d), device=DEVICE)
    for group in codebooks:
        group.copy_(normalise(torch.randn(T, K, d, device=DEVICE), metric))
    z = normalise(torch.randn(B, T, d, device=DEVICE), metric)
    by_token = z.transpose(0, 1).contiguous()
    extra = extra_mib(lambda: search_nn(z, codebooks, metric))
    prepared = PreparedCodebooks(codebooks, metric)
    ours, plain = search_nn(z, prepared, metric), plain_nn(z, codebooks, einsum_distances)
    agree = min((a == b).float().mean().item() for a, b in zip(ours, plain, strict=True))
    if agree < 0.999:
        raise StscqError(f"{name} {sizes}: ours and the plain search agree in {agree:.4f} only")
    fast = medians(
        {
            "read": lambda: codebooks.sum(),
            "rows": lambda: bare(by_token, codebooks, False),
            "columns": lambda: bare(by_token, codebooks, True),
            "ours": lambda: search_nn(z, prepared, metric),
            "first": lambda: search_nn(z, codebooks, metric),
        },
        repeats,
    )
    slow = medians(
        {
            "ours": lambda: search_nn(z, prepared, metric),
            "einsum": lambda: plain_nn(z, codebooks, einsum_distances),
            "cdist": lambda: plain_nn(z, codebooks, cdist_distances),
        },
        max(1, repeats // 3),
    )
    products, plain_s = min(fast["rows"], fast["columns"]), min(slow["einsum"], slow["cdist"])
    in_ms = {"read": fast["read"], "products": products, "ours": fast["ours"], "first": fast["first"], "plain": plain_s}
    ratios = {
        "ours/products": fast["ours"] / products,
        "ours/read": fast["ours"] / fast["read"],
        "plain/ours": plain_s / slow["ours"],
    }
    milliseconds = {key: 1e3 * seconds for key, seconds in in_ms.items()}
    return {"case": name, **sizes._asdict(), "distance": metric, **milliseconds, **ratios, "extra MiB": extra}


def alike(row: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(row[axis] == other[axis] for axis in ("T", "K", "d"))


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Time against M."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    first = next(row for row in rows if row["case"] == "M grows")
    growing = [row for row in rows if row["case"] != "B grows" and alike(row, first)]
    growing = sorted((row for row in growing if row["B"] in (1, 2, 32)), key=lambda row: row["M"])
    batches = sorted({row["B"] for row in growing})
    figure, axes = plt.subplots(1, len(batches), figsize=(5 * len(batches), 4), squeeze=False, layout="constrained")
    for B, axis in zip(batches, axes[0], strict=True):
        of_batch = [row for row in growing if row["B"] == B]
        for what in ("plain", "first", "ours", "products", "read"):
            axis.loglog([row["M"] for row in of_batch], [row[what] for row in of_batch], marker="o", label=what)
        axis.set(title=f"batch {B}, T 128, K 256, d 12", xlabel="groups M", ylabel="ms")
    axes[0, 0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def compiling() -> str:
    """What the kernel costs a process before its first search."""
    if DEVICE != "cpu":
        return ""
    machine = cpu_kernel.this_machine()
    if machine is None:
        return " This CPU has no kernel: torch alone."
    began = time.perf_counter()
    held = extra_mib(lambda: cpu_kernel.compiled(machine, 2, "inner", False))
    seconds = time.perf_counter() - began
    return f" Not counted: compiling a kernel takes {1e3 * seconds:.0f} ms, and LLVM {held:.0f} MiB, once a process."


@torch.no_grad()
def main(repeats: int = 9, out: Path | None = None, tiny: bool = False) -> None:
    """Prints the table; writes OUT/quantization_cpu (or _cuda) .md, .json and .png. --tiny: only that it runs."""
    torch.manual_seed(0)
    compiler = compiling()
    cases = TINY if tiny else PUBLISHED + GROWING
    rows = []
    for case in cases:
        rows.append(measure(*case, repeats))
        print(json.dumps(rows[-1]), file=sys.stderr)  # so that a run which is cut off was not in vain
    report("quantization", "The search over all groups", ABOUT + compiler, rows, repeats, out)
    if out is not None:
        draw(rows, out / f"quantization_{DEVICE}.png")


if __name__ == "__main__":
    run(main)
