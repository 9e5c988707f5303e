"""Train a small ArcFace recogniser on the training people of one split, and export it to ONNX.

python -m stscq.training.recogniser --store data/demo/faces --split data/demo/splits/seed1/index.parquet ...
"""

import json
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stscq.cli_tools import run
from stscq.device import own_device
from stscq.recognition.arcface import ArcFaceHead
from stscq.recognition.export import export_onnx
from stscq.recognition.iresnet import IResNet, to_input
from stscq.training.ahead import draws_of
from stscq.training.faces import recipe_of, training_batches
from stscq.training.loop import Schedule, train_and_save


def main(
    store: Path,
    split: Path,
    out: Path,
    model: str,
    seed: int,
    steps: int,
    batch: int,
    lr: float,
    scale: float,
    margin: float,
    weight_decay: float,
    save_seconds: float = 30.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json, recogniser.onnx and log.jsonl; only people marked train are used."""
    recipe = recipe_of(locals())
    device = own_device()
    batches = training_batches(store, split, batch, seed, device)
    person = torch.from_numpy(pd.factorize(pd.read_parquet(split).identity[batches.rows])[0]).long()
    torch.manual_seed(seed)
    sizes = json.loads(model)
    network = IResNet(**sizes).to(device)
    head = ArcFaceHead(int(person.max()) + 1, sizes["embedding"], scale, margin).to(device)
    draw = draws_of(batches)

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        faces, rows = draw(step, part)
        embeddings = network(to_input(faces))
        target = person[rows].to(device)
        loss = head(embeddings, target)
        right = (F.normalize(embeddings) @ F.normalize(head.weight).T).argmax(1) == target
        return {"loss": loss, "accuracy": right.float().mean()}

    train_and_save(
        nn.ModuleList([network, head]),
        loss_of_step,
        Schedule(steps, batch, lr, weight_decay, save_seconds=save_seconds),
        tensors=network.state_dict,
        recipe=recipe,
        inputs=[store / "images.npy", split],
        out=out,
    )
    export_onnx(network.cpu().eval(), out / "recogniser.onnx")


if __name__ == "__main__":
    run(main)
