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
TEST_PEOPLE = 20
COUNTS = (1, 2)
METRICS = {"psnr": "PSNR, dB", "error": "quantisation error x 1000", "used": "entries used, %"}
ABOUT = (
    "{backbone}, {variant}, seeds {seeds}: {steps} steps of stage 1, stage 2 and stage 3 from the shipped tokenizer, "
    "on ORL at 64 x 64; {people} people who are in no stage's training. The means over seeds of what one process and "
    "two make of it; how far a seed's two runs lie apart, at most; and the standard deviation over seeds of one."
)


def jobs(folder: Path, seed: int, processes: int, steps: list[int]) -> list[tuple[str, dict[str, Any]]]:
    """Modules of stscq.training and their arguments, for one codec."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    variant = params["backbones"][BACKBONE]["variants"][VARIANT]
    model = {**params["backbones"][BACKBONE]["model"], "image_size": 64}
    out = folder / f"seed{seed}_{processes}"
    data = {"store": folder / "faces", "split": folder / f"seed{seed}.parquet", "seed": seed}
    teacher = {"recogniser": Path("stscq/recognisers/distilled.onnx")}

    def numbers(stage: str, count: int) -> dict[str, Any]:
        return {**stage_settings(params, BACKBONE, stage), "steps": count, **data, "out": out / stage}

    tokenizer = {"model": json.dumps(model), "published": Path(params["backbones"][BACKBONE]["published_weights"])}
    sizes = {"groups": variant["M"], "entries": variant["K"], "selection": variant["training"]}
    start = out / "stage1_tokenizer"
    kept = {"latents": out / "latents" / "latents.npy"}
    return [
        ("stage1_tokenizer", {**numbers("stage1_tokenizer", 0), **teacher, **tokenizer}),
        ("latents", {**data, "start": start, "out": out / "latents", "copies": 1}),
        ("stage1_codebooks", {**numbers("stage1_codebooks", steps[0]), **sizes, **kept, "start": start}),
        ("stage2", {**numbers("stage2", steps[1]), **kept, "start": out / "stage1_codebooks", "shared": False}),
        ("stage3", {**numbers("stage3", steps[2]), **teacher, "start": out / "stage2"}),
    ]


def train(jobs: list[tuple[str, dict[str, Any]]], processes: int, folder: Path) -> None:
    """All of them in as many processes, but the latents, which are made by one."""
    file = folder / "jobs.json"
    launch = ["stscq.training.launch", str(processes)]
    for part, count in ((jobs[:2], 1), (jobs[2:], processes)):
        file.write_text(json.dumps(part, default=str), encoding="utf-8")
        start = launch if count > 1 else []
        subprocess.run([sys.executable, "-m", *start, "tests.together", str(file)], check=True, env=os.environ)


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


def main(out: Path | None = None, seeds: str = "1,2,3", steps: str = "100,200,40") -> None:
    """Prints the table; writes OUT/processes.md and .json. STEPS of stage 1, 2 and 3."""
    results: dict[tuple[int, int], dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_store(read_orl(orl_folder(), 64), folder / "faces")
        images, index = open_store(folder / "faces")
        for seed in map(int, seeds.split(",")):
            split = split_people(index, test_people=TEST_PEOPLE, val_people=[], seed=seed, side="test")
            split.to_parquet(folder / f"seed{seed}.parquet")
            for count in COUNTS:
                work = jobs(folder, seed, count, [int(word) for word in steps.split(",")])
                train(work, count, folder)
                codec, _ = load_codec(work[-1][1]["out"], torch.device("cpu"))
                results[seed, count] = measured(codec, images[np.flatnonzero(split.split == "test")])
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
