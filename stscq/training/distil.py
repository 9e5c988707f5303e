"""A small recogniser for the identity and perceptual losses, that learns what a large published one says of faces.

Nobody's identity is needed: the small network predicts the large one's embeddings. Run once, its result is shipped with
the project. Axes: N images of S x S pixels, E embedding length of the small network.

python -m stscq.training.distil --store data/pretrain/sets/utkface --embeddings models/pretrain/teacher.npy ...
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stscq.cli_tools import run
from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.device import Precision, mixed, own_device
from stscq.errors import ParamsError
from stscq.recognition.export import export_onnx
from stscq.recognition.iresnet import IResNet, to_input
from stscq.training.ahead import draws_of
from stscq.training.batches import Batches
from stscq.training.faces import recipe_of, rows_to_pretrain_on
from stscq.training.loop import Schedule, train_and_save

VALIDATE_EVERY = 500
"""Steps between two points of the learning curve (a multiple of the log's 20)."""


def main(
    store: Path,
    leave_out: Path,
    embeddings: Path,
    out: Path,
    model: str,
    seed: int,
    steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    validation: int,
    precision: Precision = "fp32",
    save_seconds: float = 60.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json, recogniser.onnx (weights in float16) and log.jsonl.

    The faces that LEAVE_OUT names are not looked at (see stscq.evaluation.overlap). VALIDATION of the others are not
    trained on: the mean cosine between what the network says of them and what it should is the learning curve.
    EMBEDDINGS: what the large recogniser says of every face of STORE (stscq.training.teacher), of which the network
    learns as many principal components as it has outputs.
    """
    recipe = recipe_of(locals())
    device = own_device()
    images, index = open_store(store)
    held_out, rows = rows_to_pretrain_on(index, leave_out, validation, seed)
    torch.manual_seed(seed)
    network = IResNet(**json.loads(model)).to(device)
    targets = principal(np.load(embeddings, allow_pickle=False), rows, len(network.fc.bias)).to(device)
    batches = Batches(images, rows, batch, seed, device)
    draw = draws_of(batches)

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        faces, chosen = draw(step, part)
        with mixed(device, precision):
            embedded = network(to_input(faces))
        loss = 1 - F.cosine_similarity(embedded.float(), targets[rows[chosen.numpy()]]).mean()
        if step % VALIDATE_EVERY and step != steps - 1:
            return {"loss": loss}
        return {"loss": loss, "held_out": likeness(network, images[held_out], targets[held_out])}

    train_and_save(
        network,
        loss_of_step,
        Schedule(steps, batch, lr, weight_decay, precision=precision, save_seconds=save_seconds),
        tensors=network.state_dict,
        recipe=recipe,
        inputs=[store / "images.npy", leave_out, embeddings],
        out=out,
    )
    export_onnx(network.cpu().eval(), out / "recogniser.onnx", half=True)


def principal(embeddings: np.ndarray, rows: np.ndarray, E: int) -> Tensor:
    """N x large embeddings -> N x E of length 1: the first principal components, as embeddings[rows] have them.

    Without the mean: it is most of the length of embeddings that are never negative, and says nothing of anybody.
    Raises ParamsError when there are fewer than E.
    """
    if embeddings.shape[1] < E:
        raise ParamsError(f"model.embedding: {E} numbers, and the large recogniser has {embeddings.shape[1]}")
    wide = torch.from_numpy(embeddings.astype(np.float32))
    wide = wide - wide[rows].mean(0)
    components = torch.linalg.eigh(wide[rows].T @ wide[rows]).eigenvectors[:, -E:].flip(1)
    return F.normalize(wide @ components)


@torch.no_grad()
def likeness(network: IResNet, images: np.ndarray, targets: Tensor, batch: int = 100) -> Tensor:
    """Mean cosine of the network's embeddings of some faces (N x S x S x 3 uint8) to their targets (N x E)."""
    network.eval()
    parts = [network(to_input(to_float(images[i : i + batch], targets.device))) for i in range(0, len(images), batch)]
    network.train()
    return F.cosine_similarity(torch.cat(parts), targets).mean()


if __name__ == "__main__":
    run(main)
