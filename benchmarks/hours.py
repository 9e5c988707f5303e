"""What does a profile take on GPUs? `python -m benchmarks.hours --out benchmarks/results`

Counted, not measured: floating-point operations of every training job at published size, from the modules on torch's
meta device, over the rates that RATES states; disk of what the jobs leave behind, in float32. Reading data, evaluation
and what kernels need besides are not in it. Profiles are those of config/.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.memory import IRESNET50
from stscq.backbones import Tokenizer
from stscq.cli_tools import run
from stscq.evaluation.cost import CodingScheme, count_macs, count_parameters, on_meta
from stscq.files import write_atomically
from stscq.params import stage_settings, with_profile
from stscq.recognition.iresnet import IResNet
from stscq.training.lpips import Lpips

PROFILES = ("paper_short", "paper")
RATES = {"mixed": 0.4 * 312e12, "float32": 0.4 * 19.5e12}
"""Operations a second: 40 % of what an A100's data sheet has for dense bfloat16 and for float32."""
BACKWARD = 2
"""A backward pass takes twice the operations of the forward one; half of that where weights do not train."""


class Work(NamedTuple):
    """Operations of one training image, in mixed precision (networks) and in float32 (codebooks)."""

    mixed: float
    float32: float

    def hours(self, images: float) -> float:
        return images * (self.mixed / RATES["mixed"] + self.float32 / RATES["float32"]) / 3600


class Job(NamedTuple):
    """A kind of job: how many there are, images that one sees, work of an image, and numbers that one leaves behind."""

    stage: str
    jobs: int
    images: float
    work: Work
    numbers: int


@torch.no_grad()
def loss_operations(size: int, identity: bool, lpips: bool) -> float:
    """Of the losses of one picture: both pictures forward, and one backward to its pixels, as costly as forward."""
    total = 0.0
    with torch.device("meta"):
        networks = ([IResNet(**IRESNET50).eval()] if identity else []) + ([Lpips().eval()] if lpips else [])  # type: ignore[arg-type]
        for network in networks:
            side = 112 if isinstance(network, IResNet) else size
            counter = FlopCounterMode(display=False)
            with counter:
                image = torch.zeros(1, 3, side, side)
                network(image) if isinstance(network, IResNet) else network(image, image)
            total += counter.get_total_flops() * (3 if isinstance(network, IResNet) else 1.5)
    return total


def codebook_work(tokenizer: Tokenizer, M: int, K: int, encoder: float) -> Work:
    """Stages 1 and 2: the frozen encoder, and every entry of every group against every token. The softmax over entries
    that IBQ learns by has a backward pass."""
    passes = 1 + BACKWARD if tokenizer.metric == "inner" else 1
    return Work(encoder, 2.0 * passes * M * tokenizer.T * K * tokenizer.d)


def jobs_of(params: Mapping[str, Any], backbone: str) -> Iterator[Job]:
    """The training jobs of one backbone, all seeds."""
    model = {**params["backbones"][backbone]["model"], "image_size": params["data"]["size"]}
    tokenizer, seeds = on_meta(model), len(params["seeds"])
    macs = count_macs(tokenizer, model["image_size"])
    encoder, decoder = 2.0 * macs.encoder, 2.0 * macs.decoder
    settings = {s: stage_settings(params, backbone, s) for s in ("stage1_codebooks", "stage2", "stage3")}
    images = {s: v["steps"] * v["batch"] * v.get("accumulate", 1) for s, v in settings.items()}
    stage3 = settings["stage3"]
    by_lpips = stage3["perceptual_by"] == "lpips"
    losses = loss_operations(model["image_size"], stage3["identity"] > 0, by_lpips and stage3["perceptual"] > 0)
    started = set()
    for v in params["backbones"][backbone]["variants"].values():
        scheme = CodingScheme(model, v["M"], v["K"], v["shared"], "nn", params["stage1_codebooks"]["rank"])
        sizes = count_parameters(tokenizer, scheme)
        numbers, books = sizes.encoder + sizes.decoder + sizes.router, v["M"] * v["K"] * tokenizer.d
        work = codebook_work(tokenizer, v["M"], v["K"], encoder)
        key = (v["M"], v["K"], v["training"])
        if key not in started:  # variants of one size share stage 1
            started.add(key)
            yield Job("stage1_codebooks", seeds, images["stage1_codebooks"], work, numbers + books)
        yield Job("stage2", seeds, images["stage2"], work, numbers + sizes.codebooks)
        tuned = Work(encoder + (1 + BACKWARD) * decoder + losses, work.float32)
        yield Job("stage3", seeds, images["stage3"], tuned, numbers + sizes.codebooks)
        yield Job("bundle", seeds, 0.0, tuned, numbers + sizes.codebooks)


def table(params: Mapping[str, Any]) -> pd.DataFrame:
    """A row for each backbone and stage: jobs, GPU hours, and GB that they leave behind."""
    rows = [
        {
            "backbone": backbone,
            "stage": job.stage,
            "jobs": job.jobs,
            "GPU hours": job.jobs * job.work.hours(job.images),
            "GB": 4e-9 * job.jobs * job.numbers,
        }
        for backbone in params["backbones"]
        for job in jobs_of(params, backbone)
    ]
    frame = pd.DataFrame(rows).groupby(["backbone", "stage"], sort=False, as_index=False).sum()
    whole = frame[["jobs", "GPU hours", "GB"]].sum().to_frame().T.assign(backbone="all", stage="")
    return pd.concat([frame, whole[frame.columns]], ignore_index=True).astype({"jobs": int})


def main(out: Path) -> None:
    """Writes OUT/hours.md: a table for each of PROFILES."""
    base = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    text = f"# A100 hours and disk of training at published size, counted\n\n{__doc__.split(chr(10) * 2, 1)[1]}"  # type: ignore[union-attr]
    for profile in PROFILES:
        frame = table(with_profile(base, Path("config"), {"profile": profile}))
        text += f"\n## Profile {profile}\n\n{frame.to_markdown(index=False, floatfmt='.1f')}\n"
    write_atomically(out / "hours.md", text)
    print(text)


if __name__ == "__main__":
    run(main)
