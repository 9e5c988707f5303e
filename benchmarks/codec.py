"""What do many groups add to encoding an image? `python -m benchmarks.codec --out benchmarks/results`

Published sizes, random weights and codebooks. The encoder and the searches run by turns in one run: NN over all
groups, CR (the router, then one group), and the one global codebook. Then CR with groups that stay in a file: how much
memory is resident, beside the encoder.
"""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.backbones import pair
from benchmarks.timing import MIB, extra_mib, medians, report
from stscq.backbones import Tokenizer
from stscq.cli_tools import run
from stscq.codec.quantise import Quantiser, quantise_latents
from stscq.quantization.router import Router
from stscq.quantization.search import PreparedCodebooks, normalise, search_cr
from tests.test_backbones import PUBLISHED


class Case(NamedTuple):
    """M groups of K entries; K_global entries in the global codebook. published: overhead of NN and CR, in percent."""

    M: int
    K: int
    K_global: int
    published_nn: float
    published_cr: float


CASES = {"maskgit_vqgan": Case(16, 1024, 4096, 18.5, 3.3), "titok_s128": Case(256, 256, 4096, 4.4, 1.2)}
SMALL = {
    "family": "maskgit_vqgan",
    "image_size": 32,
    "channels": 32,
    "multipliers": [1, 2],
    "blocks": 1,
    "d": 8,
    "K": 8,
}
PART = 4
"""Images that are encoded together: a larger batch is so many of these."""
BATCHES = (1, 32)
ABOUT = (
    "Milliseconds a call of B images, medians; the encoder takes 4 images at a time. global, NN, CR: from latents to "
    "symbols as `stscq compress` does it, with the distance to the next best that says whether an image has to be "
    "encoded alone. NN/global and CR/global: encoder and symbols together, over the same with the global codebook. "
    "published: the same ratio in the paper, "
    "on its GPU. CR MiB: most resident memory that encoding with CR added to that of encoding alone, with the groups "
    "in a file; group MiB: the size of one group."
)


class InFile(Sequence[Tensor]):
    """Groups in a safetensors file, read where they lie."""

    def __init__(self, path: Path, M: int):
        self.file, self.M = safe_open(path, "pt"), M

    def __len__(self) -> int:
        return self.M

    def __getitem__(self, group: Any) -> Any:
        return self.file.get_tensor(f"group{group}")


def random_codebooks(M: int, tokenizer: Tokenizer, K: int) -> Tensor:
    weight = torch.empty(M, tokenizer.T, K, tokenizer.d)
    for group in weight:
        group.copy_(normalise(torch.randn(group.shape), tokenizer.metric))
    return weight


@torch.no_grad()
def measure(name: str, tokenizer: Tokenizer, case: Case, repeats: int) -> list[dict[str, Any]]:
    """Rows of the table: one image, and a batch."""
    size = 256 if name in PUBLISHED else 32
    metric = tokenizer.metric
    router = Router(case.M, tokenizer.T, tokenizer.d, 16)
    groups = random_codebooks(case.M, tokenizer, case.K)
    shared = PreparedCodebooks(normalise(torch.randn(1, 1, case.K_global, tokenizer.d), metric), metric)
    books = PreparedCodebooks(groups, metric)
    rows = []
    for B in BATCHES:
        images = torch.rand(B, 3, size, size).contiguous(memory_format=torch.channels_last)
        row = {"backbone": name, "groups": f"{case.M} x {case.K}", "B": B}
        row |= ratios(tokenizer, images, shared, books, router, case, repeats if B == 1 else max(1, repeats // 3))
        if B == 1:
            row |= {"CR MiB": cr_mib(tokenizer, groups[:4], images), "group MiB": 4 * groups[0].numel() / MIB}
        rows.append(row)
    return rows


def ratios(
    tokenizer: Tokenizer,
    images: Tensor,
    shared: PreparedCodebooks,
    books: PreparedCodebooks,
    router: Router,
    case: Case,
    repeats: int,
) -> dict[str, float]:
    """Times of the encoder and the searches, and what they come to together."""
    metric, part = tokenizer.metric, images[:PART]
    z = torch.cat([tokenizer.encode(some) for some in images.split(PART)])
    quantisers = {
        "global": Quantiser(metric, shared, None),
        "NN": Quantiser(metric, books, None),
        "CR": Quantiser(metric, books, router),
    }
    searches = {name: partial(quantise_latents, z, quantiser) for name, quantiser in quantisers.items()}
    taken = medians({"encoder": lambda: tokenizer.encode(part), **searches}, repeats)
    taken["encoder"] *= len(images) / len(part)
    base = taken["encoder"] + taken["global"]
    return {
        **{key: 1e3 * s for key, s in taken.items()},
        "NN/global": (taken["encoder"] + taken["NN"]) / base, "published NN": 1 + case.published_nn / 100,
        "CR/global": (taken["encoder"] + taken["CR"]) / base, "published CR": 1 + case.published_cr / 100,
    }  # fmt: skip


def cr_mib(tokenizer: Tokenizer, groups: Tensor, image: Tensor) -> float:
    """What CR adds to the resident memory of encoding. A few groups do: only one is read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "books.safetensors"
        save_file({f"group{i}": group for i, group in enumerate(groups)}, path)
        in_file, chosen = InFile(path, len(groups)), torch.tensor([len(groups) - 1])
        alone = extra_mib(lambda: tokenizer.encode(image))
        return extra_mib(lambda: search_cr(tokenizer.encode(image), in_file, chosen, tokenizer.metric)) - alone


def main(repeats: int = 9, out: Path | None = None, tiny: bool = False) -> None:
    """Prints the table; writes OUT/codec_cpu.md and .json. --tiny: only that it runs."""
    torch.manual_seed(0)
    rows = []
    for name, case in {"tiny": Case(3, 8, 16, 0, 0)}.items() if tiny else CASES.items():
        tokenizer, _ = pair(SMALL if tiny else PUBLISHED[name])
        rows += measure(name, tokenizer, case, repeats)
    report("codec", "Encoding with many groups", ABOUT, rows, repeats, out)


if __name__ == "__main__":
    run(main)
