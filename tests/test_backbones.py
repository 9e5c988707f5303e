"""The public tokenizers, rebuilt: every key and shape, and the outputs on weights that anyone can make (DESIGN, 4)."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from stscq.backbones import build
from stscq.backbones.titok import attend
from stscq.quantization.search import search_group

PARITY = Path(__file__).parent / "data" / "parity"
PIXEL = {
    "pixel_channels": 128,
    "pixel_multipliers": [1, 1, 2, 2, 4],
    "pixel_blocks": 2,
    "K_pixel": 1024,
    "d_pixel": 256,
}
TITOK = {"family": "titok", "image_size": 256, "patch": 16, "K": 4096, "d": 12, **PIXEL}
CONV = {"image_size": 256, "channels": 128, "multipliers": [1, 1, 2, 2, 4], "d": 256}
PUBLISHED = {
    "titok_s128": {**TITOK, "width": 512, "layers": 8, "heads": 8, "T": 128, "hidden": 1024},
    "titok_l32": {**TITOK, "width": 1024, "layers": 24, "heads": 16, "T": 32, "hidden": 2048},
    "maskgit_vqgan": {"family": "maskgit_vqgan", **CONV, "blocks": 2, "K": 1024},
    "ibq_8192": {"family": "ibq", **CONV, "blocks": 4, "K": 8192},
}
SMALL_NORMAL = {
    "class_embedding", "positional_embedding", "latent_token_positional_embedding", "mask_token", "latent_tokens",
}  # fmt: skip


def rng(key):
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode())))


def weight(key, shape):
    w = rng(key).standard_normal(shape, dtype=np.float32)
    if key.endswith("bias"):
        return 0.02 * w
    if "embedding.weight" in key:
        return w
    if key.split(".")[-1] in SMALL_NORMAL:
        return 0.05 * w
    return 1 + 0.02 * w if len(shape) == 1 else w / math.sqrt(math.prod(shape[1:]))


def relative(value, reference):
    return float((value - reference).norm() / reference.norm())


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
@torch.no_grad()
def test_published_model_agrees_with_the_reference(name):
    keys = json.loads((PARITY / f"{name}.keys.json").read_text())
    model = build(**PUBLISHED[name])
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == keys
    model.load_state_dict({k: torch.from_numpy(np.asarray(weight(k, tuple(s)))) for k, s in keys.items()})
    reference = {k: torch.from_numpy(v) for k, v in np.load(PARITY / f"{name}.npz").items()}
    image = torch.from_numpy(rng("image").random((2, 3, 16, 16), dtype=np.float32).repeat(16, 2).repeat(16, 3))

    z_e = model.encode(image)
    latents = reference["latents"].flatten(2).mT
    assert relative(z_e, latents) < 1e-3

    book = model.take_codebook()
    index, _ = search_group(z_e, book[None], model.metric)
    wanted = reference["indices"].long().view(2, -1)
    clear = reference["index_margin"].view(2, -1) > 1e-3
    assert torch.equal(index[clear], wanted[clear])

    z_q = book[wanted]
    if model.metric == "cosine":
        z_q = torch.nn.functional.normalize(z_q, dim=-1)
        assert relative(model.logits(z_q)[:, ::16, ::2, ::2], reference["decoder_logits"]) < 1e-3
    out = model.decode(z_q)
    if name.startswith("ibq"):
        out = 2 * out - 1  # decode returns [0, 1]; the public model paints [-1, 1]
    assert relative(out[:, :, ::8, ::8], reference["image"]) < 1e-3


def test_unknown_family_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'vqvae'.*titok"):
        build("vqvae")


def test_attention_in_bfloat16_is_that_of_the_fused_kernel():
    q, k, v = torch.randn(3, 2, 4, 9, 16, generator=torch.Generator().manual_seed(0))
    exact = attend(q, k, v)
    torch.testing.assert_close(attend(q.bfloat16(), k.bfloat16(), v.bfloat16()).float(), exact, atol=0.03, rtol=0.03)


@pytest.mark.parametrize("family", ["maskgit_vqgan", "ibq"])
def test_reduced_precision_changes_the_layout_and_little_else(family):
    torch.manual_seed(0)
    tokenizer = build(family, image_size=16, channels=8, multipliers=[1, 2], blocks=1, d=4, K=8)
    tokenizer.initialise()
    images = torch.rand(2, 3, 16, 16)
    tokenizer.compute_in("fp32")
    assert tokenizer.decoder.conv_out.weight.is_contiguous(memory_format=torch.channels_last)
    exact = tokenizer.encode(images)
    tokenizer.compute_in("bf16")
    assert tokenizer.decoder.conv_out.weight.is_contiguous()
    assert (tokenizer.encode(images) - exact).square().mean() < 1e-3 * exact.var()
