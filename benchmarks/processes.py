"""Is a codec that two processes train that of one? `python -m benchmarks.processes --out benchmarks/results`

The demo's faces, its shipped tokenizer, numbers and recogniser, fewer steps; every stage in one process and in two that
share each batch, for some seeds. Judged on people whom no stage saw, by what needs no recogniser. docs/many-gpus.md
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from benchmarks.timing import load_average
from stscq.cli_tools import run
from stscq.data.orl import orl_folder, read_orl
from stscq.data.splits import split_people
from stscq.data.store import open_store, write_store
from stscq.data.tensors import to_float
from stscq.files import write_atomically
from stscq.params import stage_settings
from stscq.quantization.trained_codec import TrainedCodec, load_codec
from stscq.training.pretrain import psnr

BACKBONE, VARIANT = "maskgit_vqgan", "switchable_4x16"
RECOGNISER = Path("stscq/recognisers/distilled.onnx")
TEST_PEOPLE = 5
COUNTS = (1, 2)
METRICS = {"psnr": "PSNR, dB", "error": "quantisation error x 1000", "used": "entries used, %"}
ABOUT = (
    "{backbone}, {variant}, seeds {seeds}: {steps} steps of stage 1, stage 2 and stage 3 from the shipped tokenizer, "
    "on ORL at 64 x 64; {people} people who are in no stage's training. The means over seeds of what one process and "
    "two make of it; how far a seed's two runs lie apart, at most; and the standard deviation over seeds of one."
)


Job = tuple[str, dict[str, Any]]
"""A module of stscq.training and its arguments."""


def numbers(params: dict[str, Any], stage: str, steps: int) -> dict[str, Any]:
    return {**stage_settings(params, BACKBONE, stage), "steps": steps}


def starting(folder: Path, seed: int, params: dict[str, Any]) -> list[Job]:
    """What one process and two start from: the shipped tokenizer and the latents of this seed's training faces."""
    backbone = params["backbones"][BACKBONE]
    data = {"store": folder / "faces", "split": folder / f"seed{seed}.parquet", "seed": seed}
    tokenizer = {
        "model": json.dumps({**backbone["model"], "image_size": 64}),
        "published": Path(backbone["published_weights"]),
        "recogniser": RECOGNISER,
    }
    start = folder / f"tokenizer{seed}"
    return [
        ("stage1_tokenizer", {**numbers(params, "stage1_tokenizer", 0), **data, **tokenizer, "out": start}),
        ("latents", {**data, "start": start, "out": folder / f"latents{seed}", "copies": 1}),
    ]


def stages(folder: Path, seed: int, processes: int, steps: list[int], params: dict[str, Any]) -> list[Job]:
    """Stage 1 (codebooks), 2 and 3 of one codec."""
    variant = params["backbones"][BACKBONE]["variants"][VARIANT]
    data = {"store": folder / "faces", "split": folder / f"seed{seed}.parquet", "seed": seed}
    kept = {"latents": folder / f"latents{seed}" / "latents.npy"}
    sizes = {"groups": variant["M"], "entries": variant["K"], "selection": variant["training"]}
    places = [folder / f"tokenizer{seed}", *(folder / f"seed{seed}_{processes}" / str(stage) for stage in (1, 2, 3))]
    own: list[Job] = [
        ("stage1_codebooks", {**sizes, **kept}),
        ("stage2", {**kept, "shared": variant["shared"]}),
        ("stage3", {"recogniser": RECOGNISER}),
    ]
    return [
        (name, {**numbers(params, name, count), **data, **more, "start": start, "out": out})
        for (name, more), count, start, out in zip(own, steps, places, places[1:], strict=False)
    ]


def train(jobs: list[Job], processes: int, folder: Path) -> None:
    """One after the other, each in as many processes."""
    file = folder / "jobs.json"
    file.write_text(json.dumps(jobs, default=str), encoding="utf-8")
    launch = ["stscq.training.launch", str(processes)] if processes > 1 else []
    subprocess.run([sys.executable, "-m", *launch, "tests.together", str(file)], check=True, env=os.environ)


@torch.no_grad()
def measured(codec: TrainedCodec, faces: np.ndarray) -> dict[str, float]:
    """METRICS of a codec on some faces (N x S x S x 3 uint8), its router choosing the groups."""
    found: dict[str, list[torch.Tensor]] = {"psnr": [], "error": []}
    used = torch.zeros(codec.codebooks.weight.shape[:3], dtype=torch.bool)
    for i in range(0, len(faces), 50):
        images = to_float(faces[i : i + 50], codec.tokenizer.device)
        z_e = codec.tokenizer.encode(images)
        group = None if codec.router is None else codec.router(z_e).argmax(1)
        quantised = codec.codebooks(z_e, group)
        assigned = quantised.assignment
        used[assigned.group[:, None], torch.arange(used.shape[1]), assigned.index] = True
        found["psnr"].append(psnr(codec.tokenizer.decode(quantised.z_q), images))
        found["error"].append((quantised.z - quantised.z_q).square().mean((1, 2)))
    return {
        "psnr": torch.cat(found["psnr"]).mean().item(),
        "error": 1000 * torch.cat(found["error"]).mean().item(),
        "used": 100 * used.float().mean().item(),
    }


def table(results: Mapping[tuple[int, int], Mapping[str, float]]) -> pd.DataFrame:
    """results: seed and processes -> metrics."""
    frame = pd.DataFrame(results).T
    one, two = (frame.xs(count, level=1) for count in COUNTS)
    rows = {
        METRICS[name]: {
            "1 process": one[name].mean(),
            "2 processes": two[name].mean(),
            "apart, at most": (one[name] - two[name]).abs().max(),
            "std over seeds": one[name].std(),
        }
        for name in METRICS
    }
    return pd.DataFrame(rows).T.rename_axis("of the test people")


def main(out: Path | None = None, seeds: str = "1,2,3", steps: str = "50,100,10") -> None:
    """Prints the table; writes OUT/processes.md and .json. STEPS of stage 1, 2 and 3."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    chosen, numbers_of_steps = list(map(int, seeds.split(","))), list(map(int, steps.split(",")))
    results: dict[tuple[int, int], dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_store(read_orl(orl_folder(), 64), folder / "faces")
        images, index = open_store(folder / "faces")
        for seed in chosen:
            split = split_people(index, test_people=TEST_PEOPLE, val_people=[], seed=seed, side="test")
            split.to_parquet(folder / f"seed{seed}.parquet")
        train([job for seed in chosen for job in starting(folder, seed, params)], 1, folder)
        for count in COUNTS:
            work = {seed: stages(folder, seed, count, numbers_of_steps, params) for seed in chosen}
            train([job for jobs in work.values() for job in jobs], count, folder)
            for seed, jobs in work.items():
                codec, _ = load_codec(jobs[-1][1]["out"], torch.device("cpu"))
                test = np.flatnonzero(pd.read_parquet(folder / f"seed{seed}.parquet").split == "test")
                results[seed, count] = measured(codec, images[test])
                print(seed, count, results[seed, count], flush=True)
    about = ABOUT.format(backbone=BACKBONE, variant=VARIANT, seeds=seeds, steps=steps, people=TEST_PEOPLE)
    text = f"# Two processes and one\n\n{about}\n\n{table(results).to_markdown(floatfmt='.4f')}\n"
    print(text)
    if out is not None:
        rows = [{"seed": seed, "processes": count, **values} for (seed, count), values in results.items()]
        write_atomically(out / "processes.md", text)
        write_atomically(out / "processes.json", json.dumps({"load": load_average(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
