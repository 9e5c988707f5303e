"""How much GPU memory does training at published size take? `python -m benchmarks.memory --out benchmarks/results`

Counted, not measured: every tensor that the backward pass of one image needs is counted on torch's meta device, with
weights, gradients and optimiser states on top. In float32; mixed precision takes less. What kernels need besides
(workspace, fragmentation) is not in it. The batches are those of config/paper.yaml and config/paper_v100.yaml.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from torch import Tensor, nn

from stscq.backbones import build
from stscq.cli_tools import run
from stscq.evaluation.cost import codebooks_mib
from stscq.files import write_atomically
from stscq.params import stage_settings, with_profile
from stscq.recognition.iresnet import IResNet
from stscq.training.losses import ImageLossWeights, image_losses
from stscq.training.lpips import Lpips

GIB = 2**30
IRESNET50 = {"widths": (64, 128, 256, 512), "blocks": (3, 4, 14, 3), "stem_stride": 1, "embedding": 512}
CARDS = {"paper": 141, "paper_v100": 32}
"""GB of memory of the GPU that each profile's batches are for."""


class Saved:
    """Bytes of the distinct tensors that autograd keeps for the backward pass, without weights."""

    def __init__(self, *modules: nn.Module):
        self.known = {
            p.untyped_storage()._cdata for module in modules for p in (*module.parameters(), *module.buffers())
        }
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.known:
            self.known.add(storage._cdata)
            self.kept.append(tensor)  # so that no other tensor gets its address
            self.bytes += storage.nbytes()
        return tensor

    @contextmanager
    def counting(self) -> Iterator[None]:
        self.kept: list[Tensor] = []
        with torch.autograd.graph.saved_tensors_hooks(self.pack, lambda tensor: tensor):
            yield


def activations(
    model: Mapping[str, Any], size: int, weights: ImageLossWeights, encoder_trains: bool, by_lpips: bool
) -> float:
    """GiB that one image of size x size takes between the forward and the backward pass of stage 1 or stage 3."""
    with torch.device("meta"):
        tokenizer = build(**{**model, "image_size": size})
        recogniser = IResNet(**IRESNET50).eval().requires_grad_(False)  # type: ignore[arg-type]
        lpips = Lpips().eval().requires_grad_(False) if by_lpips else None
        tokenizer.take_codebook()
        image = torch.zeros(1, 3, size, size)
        saved = Saved(tokenizer, recogniser, *([lpips] if lpips else []))
        with saved.counting():
            z_e = tokenizer.encode(image) if encoder_trains else torch.zeros(1, tokenizer.T, tokenizer.d)
            image_losses(tokenizer.decode(z_e), image, recogniser, weights, lpips)
    return saved.bytes / GIB


def parameters(model: Mapping[str, Any], size: int) -> tuple[float, float]:
    """GiB of all weights of a tokenizer but its codebook, and of those of its decoder."""
    with torch.device("meta"):
        tokenizer = build(**{**model, "image_size": size})
        tokenizer.take_codebook()
        decoder = sum(p.numel() for part in tokenizer.decoder_parts() for p in part.parameters())
        return 4 * sum(p.numel() for p in tokenizer.parameters()) / GIB, 4 * decoder / GIB


def rows(params: Mapping[str, Any], card: int) -> Iterator[dict[str, Any]]:
    size = params["data"]["size"]
    for name, backbone in params["backbones"].items():
        model = backbone["model"]
        everything, decoder = parameters(model, size)
        with torch.device("meta"):
            T = build(**{**model, "image_size": size}).T
        for stage, trained in (("stage1_tokenizer", everything), ("stage3", decoder)):
            settings = stage_settings(params, name, stage)
            weights = ImageLossWeights(settings["reconstruction"], settings["perceptual"], settings["identity"])
            image = activations(model, size, weights, stage == "stage1_tokenizer", settings["perceptual_by"] == "lpips")
            fixed = everything + 3 * trained  # weights; gradient and two averages of what trains
            yield row(name, stage, settings, fixed, image, card)
        largest = max(v["M"] * (1 if v["shared"] else T) * v["K"] for v in backbone["variants"].values())
        books = codebooks_mib(1, 1, largest, model["d"]) / 1024
        # The codebooks and their two averages; IBQ's softmax gives gradients to all entries, the others to few.
        fixed = everything + (6 if model["family"] == "ibq" else 3) * books
        settings = stage_settings(params, name, "stage2")
        scores = 4 * T * model["K"] * 4 / GIB if model["family"] == "ibq" else 0.0
        yield row(name, "stage2", settings, fixed, scores, card)


def row(name: str, stage: str, settings: Mapping[str, Any], fixed: float, image: float, card: int) -> dict[str, Any]:
    batch = settings["batch"]
    return {
        "backbone": name,
        "stage": stage,
        "batch": batch,
        "accumulate": settings.get("accumulate", 1),
        "fixed GiB": fixed,
        "GiB an image": image,
        "GiB in all": fixed + batch * image,
        "largest batch": int((card * 1e9 / GIB - fixed) / image) if image else None,
    }


def main(out: Path) -> None:
    """Writes OUT/memory.md: a table for each of the two profiles."""
    base = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    text = f"# GPU memory of training at published size, counted\n\n{__doc__.split(chr(10) * 2, 1)[1]}"  # type: ignore[union-attr]
    for profile, card in CARDS.items():
        frame = pd.DataFrame(rows(with_profile(base, Path("config"), {"profile": profile}), card))
        # Stage 2 of all but IBQ keeps nothing an image that is worth counting.
        frame["largest batch"] = frame["largest batch"].map(lambda batch: "" if pd.isna(batch) else f"{batch:.0f}")
        table = frame.to_markdown(index=False, floatfmt=".2f")
        text += f"\n## Profile {profile}, a GPU of {card} GB\n\n{table}\n"
    write_atomically(out / "memory.md", text)
    print(text)


if __name__ == "__main__":
    run(main)
