"""Stage 1, first half: fine-tune a tokenizer (encoder, decoder and its one codebook) on the training faces.

The paper leaves this out: 0 steps hand the published tokenizer on as it is.

python -m stscq.training.stage1_tokenizer --store data/demo/faces --model '{"family": "titok", ...}' ...
"""

import json
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from stscq.cli_tools import run
from stscq.data.splits import sample_rows
from stscq.device import Precision, own_device
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.trained_codec import TrainedCodec, load_codec, on_device, tensors_of
from stscq.recognition.frozen import load_frozen, weights_file
from stscq.training.adversary import chosen_adversary
from stscq.training.ahead import draws_of
from stscq.training.faces import recipe_of, training_batches
from stscq.training.loop import Schedule, train_and_save
from stscq.training.losses import ImageLossWeights
from stscq.training.lpips import PerceptualBy, chosen_lpips, given
from stscq.training.tokenizer_training import (
    TokenizerLossWeights,
    start_codebook,
    start_titok,
    start_tokenizer,
    tokenizer_loss,
    warm_up_loss,
)


def main(
    store: Path,
    split: Path,
    recogniser: Path,
    out: Path,
    model: str,
    seed: int,
    steps: int,
    continuous_steps: int,
    batch: int,
    lr: float,
    weight_decay: float,
    reconstruction: float,
    perceptual: float,
    identity: float,
    codebook: float,
    commitment: float,
    entropy: float,
    accumulate: int = 1,
    precision: Precision = "fp32",
    pixel_decoder: Path | None = None,
    published: Path | None = None,
    perceptual_by: PerceptualBy = "recogniser",
    alexnet: Path | None = None,
    lpips_alex: Path | None = None,
    adversarial: float = 0.0,
    adversarial_start: int = 0,
    adversarial_channels: int = 128,
    save_seconds: float = 30.0,
) -> None:
    """Writes OUT/weights.safetensors, recipe.json and log.jsonl.

    The first CONTINUOUS_STEPS leave the latents unquantised (for a tokenizer trained from nothing); then the codebook
    starts from their k-means centres. A step takes ACCUMULATE batches. PIXEL_DECODER is a finished run of this for
    MaskGIT-VQGAN: a TiTok paints with its decoder, and matches its latents in the first CONTINUOUS_STEPS. PUBLISHED is
    a file of a public model's weights to start from instead of from nothing; the codebook then grows from its entries
    to the K of MODEL. PERCEPTUAL_BY, ALEXNET, LPIPS_ALEX and the three of ADVERSARIAL: as in stage 3.
    """
    recipe = recipe_of(locals())
    device = own_device()
    batches = training_batches(store, split, batch, seed, device)
    frozen = load_frozen(recogniser, device)
    lpips = chosen_lpips(perceptual_by, alexnet, lpips_alex, device)
    weights = TokenizerLossWeights(
        codebook, commitment, entropy, ImageLossWeights(reconstruction, perceptual, identity)
    )
    torch.manual_seed(seed)
    sample = batches.images[sample_rows(batches.rows, seed, most=128)]
    tokenizer, entries = start_tokenizer(json.loads(model), published, sample, seed, device)
    tokenizer.compute_in(precision)
    inputs = [store / "images.npy", split, weights_file(recogniser), *given(published, alexnet, lpips_alex)]
    teacher = None
    if pixel_decoder is not None:
        teacher, _ = load_codec(pixel_decoder, device)
        start_titok(tokenizer, teacher, pixel_decoder, sample, seed)
        inputs.append(pixel_decoder / "weights.safetensors")
    codec = on_device(TrainedCodec(tokenizer, Codebooks(entries[None, None].clone(), tokenizer.metric), None), device)

    adversary = chosen_adversary(
        adversarial, adversarial_start, adversarial_channels, seed, weight_decay, accumulate, device
    )
    draw = draws_of(batches, accumulate)

    def loss_of_step(step: int, part: int) -> dict[str, Tensor]:
        faces = draw(step, part).images
        against = adversary and partial(adversary.add, step=step)
        if step < continuous_steps:
            if teacher is not None:
                return warm_up_loss(tokenizer, codec.codebooks.continuous(tokenizer.encode(faces)), teacher, faces)
            return tokenizer_loss(codec, faces, frozen, weights, 1.0, lpips, against)
        if step == continuous_steps > 0 and part == 0:
            start_codebook(codec, sample, seed)
        return tokenizer_loss(codec, faces, frozen, weights, 0.0, lpips, against)

    train_and_save(
        nn.ModuleDict({"tokenizer": tokenizer, "codebooks": codec.codebooks}),
        loss_of_step,
        Schedule(steps, batch, lr, weight_decay, accumulate, precision, save_seconds),
        tensors=lambda: tensors_of(codec),
        recipe=recipe,
        inputs=inputs,
        out=out,
        adversary=adversary,
    )


if __name__ == "__main__":
    run(main)
