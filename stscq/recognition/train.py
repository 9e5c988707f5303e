"""Train a small ArcFace recogniser on the training people of one split, and export it to ONNX.

python -m stscq.recognition.train --store data/demo/faces --split data/demo/splits/seed1/index.parquet ...
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
from stscq.recognition.iresnet import INPUT_SIZE, IResNet, to_input
from stscq.training.checkpoint import load_checkpoint
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

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        faces, chosen = batches.draw(step, part)
        embeddings = network(to_input(faces))
        target = person[chosen].to(device)
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


def export_onnx(network: IResNet, path: Path) -> None:
    """Input N x 3 x 112 x 112 RGB in [-1, 1], as insightface expects of an ArcFace model."""
    example = torch.zeros(2, 3, INPUT_SIZE, INPUT_SIZE)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["data"],
        output_names=["embedding"],
        dynamic_shapes={"x": {0: torch.export.Dim("N", min=1)}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    program.save(path, external_data=False)


def load_iresnet(folder: Path) -> IResNet:
    """A trained recogniser as a frozen torch module. Raises CheckpointError when it is missing or damaged."""
    tensors, recipe = load_checkpoint(folder)
    network = IResNet(**json.loads(recipe["model"]))
    network.load_state_dict(tensors)
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


if __name__ == "__main__":
    run(main)
