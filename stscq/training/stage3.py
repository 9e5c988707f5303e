"""Stage 3: with encoder, codebooks and router frozen, tune the decoder to what the codebooks give it.

python -m stscq.training.stage3 --start models/demo/titok_s/stage2/switchable_4x64/seed1 ...
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from stscq.cli_tools import run
from stscq.device import Precision, own_device
from stscq.quantization.trained_codec import TrainedCodec, load_codec, tensors_of
from stscq.recognition.frozen import Frozen, load_frozen, weights_file
from stscq.training.adversary import Against, chosen_adversary
from stscq.training.ahead import draws_of
from stscq.training.faces import recipe_of, training_batches
from stscq.training.loop import Schedule, train_and_save
from stscq.training.losses import ImageLossWeights, image_losses
from stscq.training.lpips import Lpips, PerceptualBy, chosen_lpips, given


def main(
    store: Path,
    split: Path,
    recogniser: Path,
    start: Path,
    out: Path,
    seed: int,
    steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    reconstruction: float,
    perceptual: float,
    identity: float,
    accumulate: int = 1,
    precision: Precision = "fp32",
    taught_by: str = "own",
    perceptual_by: PerceptualBy = "recogniser",
    alexnet: Path | None = None,
    lpips_alex: Path | None = None,
    adversarial: float = 0.0,
    adversarial_start: int = 0,
    adversarial_channels: int = 128,
    save_seconds: float = 30.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json and log.jsonl. Groups are chosen as stage 2 chose them.

    A step takes ACCUMULATE batches. RECOGNISER gives the perceptual and the identity loss: a folder of
    stscq.training.recogniser, an .onnx file, or `dlib`. TAUGHT_BY is for the recipe: the judge's name where RECOGNISER
    is the judge, which puts the codec outside all claims. PERCEPTUAL_BY lpips takes LPIPS for the perceptual loss, with
    the weights ALEXNET and LPIPS_ALEX. ADVERSARIAL weighs the term of a discriminator (stscq.training.adversary) of
    ADVERSARIAL_CHANNELS, which begins at step ADVERSARIAL_START. Raises ParamsError where LPIPS has no weights.
    """
    recipe = recipe_of(locals())
    device = own_device()
    batches = training_batches(store, split, batch, seed, device)
    frozen = load_frozen(recogniser, device)
    lpips = chosen_lpips(perceptual_by, alexnet, lpips_alex, device)
    weights = ImageLossWeights(reconstruction, perceptual, identity)
    codec, before_recipe = load_codec(start, device)
    tokenizer = codec.tokenizer.requires_grad_(False)
    tokenizer.compute_in(precision)
    parts = tokenizer.decoder_parts()
    for part in parts:
        part.requires_grad_(True)

    adversary = chosen_adversary(
        adversarial, adversarial_start, adversarial_channels, seed, weight_decay, accumulate, device
    )
    draw = draws_of(batches, accumulate)

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        faces = draw(step, part).images
        return stage3_loss(codec, faces, frozen, weights, lpips, adversary and partial(adversary.add, step=step))

    train_and_save(
        nn.ModuleList(parts),
        loss_of_step,
        Schedule(steps, batch, lr, weight_decay, accumulate, precision, save_seconds),
        tensors=lambda: tensors_of(codec),
        recipe={**recipe, **{name: before_recipe[name] for name in INHERITED}},
        inputs=[
            store / "images.npy",
            split,
            weights_file(recogniser),
            start / "weights.safetensors",
            *given(alexnet, lpips_alex),
        ],
        out=out,
        adversary=adversary,
    )


def stage3_loss(
    codec: TrainedCodec,
    faces: Tensor,
    frozen: Frozen,
    weights: ImageLossWeights,
    lpips: Lpips | None = None,
    against: Against | None = None,
) -> dict[str, Tensor]:
    """Named terms and their weighted sum `loss`, whose gradients reach the decoder alone; faces: B x 3 x S x S."""
    with torch.no_grad():
        z_e = codec.tokenizer.encode(faces)
        group = None if codec.router is None else codec.router(z_e).argmax(1)
        z_q = codec.codebooks.lookup(codec.codebooks.search(z_e, group))
    reconstruction = codec.tokenizer.decode(z_q)
    terms = image_losses(reconstruction, faces, frozen, weights, lpips)
    return terms if against is None else against(terms, reconstruction, faces)


INHERITED = ("model", "shared", "groups", "entries", "selection")
"""What stages 1 and 2 decided and every later step needs to know."""


if __name__ == "__main__":
    run(main)
