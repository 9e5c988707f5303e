"""The stages: same seed, same weights; killed at any moment, same weights; who may be trained on; what is frozen."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from stscq.backbones import build
from stscq.checkpoint import load_checkpoint
from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.errors import CheckpointError, DataError, ParamsError
from stscq.quantization.losses import RouterLossWeights
from stscq.quantization.mean_use import MeanUse
from stscq.quantization.search import group_errors
from stscq.quantization.trained_codec import load_codec
from stscq.recognition.frozen import load_frozen
from stscq.training import (
    codebook_training,
    stage1_codebooks,
    stage1_tokenizer,
    stage2,
    stage3,
    tokenizer_training,
)
from stscq.training.batches import augment, generator
from stscq.training.encode import encode_rows
from stscq.training.faces import training_batches
from stscq.training.loop import learning_rate
from stscq.training.losses import ImageLossWeights
from tests.trained import (
    CODEBOOKS,
    CPU,
    IBQ,
    SMALL_MASKGIT,
    STAGE2,
    STAGE3,
    TITOK,
    TOKENIZER,
    same_tensors,
    train_stages_1_and_2,
    weights,
)


def test_same_seed_same_weights(places, latent_places, tuned, first, second, tmp_path):
    stage1_tokenizer.main(**places, out=tmp_path / "tuned", **TOKENIZER)
    assert same_tensors(weights(tuned), weights(tmp_path / "tuned"))
    stage1_codebooks.main(**latent_places, start=tuned, out=tmp_path / "one", **CODEBOOKS)
    assert same_tensors(weights(first), weights(tmp_path / "one"))
    stage2.main(**latent_places, start=first, out=tmp_path / "two", **STAGE2)
    assert same_tensors(weights(second), weights(tmp_path / "two"))
    stage2.main(**latent_places, start=first, out=tmp_path / "other", **{**STAGE2, "seed": 2})
    assert not same_tensors(weights(second), weights(tmp_path / "other"))


def test_stages_1_and_2_train_codebooks_and_router_only(tuned, first, second):
    before = weights(tuned)
    for after in (weights(first), weights(second)):
        for name, tensor in before.items():
            if name.startswith("tokenizer."):
                assert torch.equal(tensor, after[name]), name
    assert weights(first)["codebooks.weight"].shape == (4, 1, 8, 8)
    assert weights(second)["codebooks.weight"].shape == (4, 64, 8, 8)
    assert not torch.equal(weights(first)["router.head.weight"], weights(second)["router.head.weight"])


def test_stage_2_starts_each_token_from_its_group(latent_places, first, tmp_path):
    """Eq. 12."""
    stage2.main(**latent_places, start=first, out=tmp_path / "two", **{**STAGE2, "steps": 0})
    shared, specific = weights(first)["codebooks.weight"], weights(tmp_path / "two")["codebooks.weight"]
    assert torch.equal(specific, shared.expand(4, 64, 8, 8))


def test_no_steps_hand_the_published_tokenizer_on(places, tmp_path):
    published = tmp_path / "public.safetensors"
    torch.manual_seed(5)
    public = build(**json.loads(SMALL_MASKGIT))
    save_file({name: tensor.contiguous() for name, tensor in public.state_dict().items()}, published)
    numbers = {**TOKENIZER, "steps": 0, "continuous_steps": 0, "published": published}
    stage1_tokenizer.main(**places, out=tmp_path / "tuned", **numbers)
    after = weights(tmp_path / "tuned")
    assert torch.equal(after["codebooks.weight"][0, 0], public.quantize.embedding.weight)
    for name, tensor in public.state_dict().items():
        assert name.startswith("quantize.") or torch.equal(after[f"tokenizer.{name}"], tensor), name
    assert (tmp_path / "tuned" / "log.jsonl").read_text() == ""


def test_stage3_trains_the_decoder_only(places, second, tmp_path):
    stage3.main(**places, start=second, out=tmp_path / "three", **STAGE3)
    before, after = weights(second), weights(tmp_path / "three")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("tokenizer.decoder.")}
    assert load_checkpoint(tmp_path / "three")[1]["groups"] == 4


@pytest.mark.parametrize("groups", [1, 4])
def test_token_shared_codebooks_go_on_in_stage_2(latent_places, tuned, groups, tmp_path):
    """With one group the compute-matched baseline."""
    start = {**CODEBOOKS, "groups": groups, "selection": "nn"}
    stage1_codebooks.main(**latent_places, start=tuned, out=tmp_path / "one", **start)
    stage2.main(**latent_places, start=tmp_path / "one", out=tmp_path / "two", **{**STAGE2, "shared": True})
    before, after = (weights(tmp_path / name)["codebooks.weight"] for name in ("one", "two"))
    assert after.shape == before.shape == (groups, 1, 8, 8)
    assert not torch.equal(before, after)
    assert load_checkpoint(tmp_path / "two")[1]["shared"] is True


@pytest.mark.parametrize("model", [TITOK, IBQ])
def test_the_other_families_train(places, tuned, model, tmp_path):
    pixel_decoder = tuned if model == TITOK else None
    numbers = {**TOKENIZER, "model": model}
    stage1_tokenizer.main(**places, out=tmp_path / "tuned", pixel_decoder=pixel_decoder, **numbers)
    train_stages_1_and_2(places, tmp_path / "tuned", tmp_path)
    codec, _ = load_codec(tmp_path / "two", CPU)
    assert codec.codebooks.weight.shape[:2] == (4, codec.tokenizer.T)
    assert torch.isfinite(codec.codebooks.weight).all()


def test_pixel_decoder_of_another_size_is_refused(places, tuned, tmp_path):
    coarse = TITOK.replace('"patch": 4', '"patch": 8')
    with pytest.raises(CheckpointError, match="a grid of 8, TiTok's is 4"):
        stage1_tokenizer.main(**places, out=tmp_path / "one", pixel_decoder=tuned, **{**TOKENIZER, "model": coarse})
    wide = TITOK.replace('"pixel_channels": 8', '"pixel_channels": 16')
    with pytest.raises(CheckpointError, match="does not fit TiTok's pixel decoder"):
        stage1_tokenizer.main(**places, out=tmp_path / "one", pixel_decoder=tuned, **{**TOKENIZER, "model": wide})
    with pytest.raises(CheckpointError, match="goes from a MaskGIT-VQGAN to a TiTok"):
        stage1_tokenizer.main(**places, out=tmp_path / "one", pixel_decoder=tuned, **TOKENIZER)


def test_a_tokenizer_starts_from_published_weights(places, faces, tmp_path):
    torch.manual_seed(5)
    public = build(**{**json.loads(SMALL_MASKGIT), "K": 4})
    save_file(
        {name: tensor.contiguous() for name, tensor in public.state_dict().items()}, tmp_path / "public.safetensors"
    )
    images = open_store(faces).images[:20]
    model = json.loads(SMALL_MASKGIT)
    tokenizer, book = tokenizer_training.start_tokenizer(model, tmp_path / "public.safetensors", images, 1, CPU)
    assert torch.equal(tokenizer.encoder.conv_in.weight, public.encoder.conv_in.weight)
    assert torch.equal(book[:4], public.quantize.embedding.weight)
    z_e = encode_rows(tokenizer, images, np.arange(20)).flatten(0, 1)
    assert book.shape == (16, 8)
    assert all((z_e == entry).all(1).any() for entry in book[4:])  # the new entries are latents
    with pytest.raises(ParamsError, match=r"model.K = 2 is less than the 4 entries of .*public\.safetensors"):
        tokenizer_training.start_tokenizer({**model, "K": 2}, tmp_path / "public.safetensors", images, 1, CPU)
    with pytest.raises(CheckpointError, match=r"public\.safetensors: not the weights of this IBQ"):
        tokenizer_training.start_tokenizer(json.loads(IBQ), tmp_path / "public.safetensors", images, 1, CPU)
    published = {**TOKENIZER, "continuous_steps": 0, "published": tmp_path / "public.safetensors"}
    stage1_tokenizer.main(**places, out=tmp_path / "one", **published)
    assert load_codec(tmp_path / "one", CPU)[0].codebooks.K == 16


def test_only_training_people_are_drawn(faces, split):
    batches = training_batches(faces, split / "index.parquet", 500, 1, CPU)
    index = pd.read_parquet(split / "index.parquet")
    assert set(index.split[batches.rows]) == {"train"}
    chosen = batches.draw(1).chosen.numpy()
    assert set(index.identity[batches.rows[chosen]]) <= set(index.identity[index.split == "train"])
    # A store without test people: everybody trains.
    assert len(training_batches(faces, faces / "index.parquet", 1, 1, CPU).rows) == 400


def test_the_split_of_another_store_is_refused(faces, split, tmp_path):
    index = pd.read_parquet(split / "index.parquet")
    for rows in (len(index) - 1, 0):
        index.head(rows).to_parquet(tmp_path / "index.parquet")
        with pytest.raises(DataError, match=rf"index\.parquet: of {rows} images, and .* has 400; split it anew"):
            training_batches(faces, tmp_path / "index.parquet", 4, 0, torch.device("cpu"))
    for content in (b"", b"PAR1"):
        (tmp_path / "index.parquet").write_bytes(content)
        with pytest.raises(DataError, match="not a complete image store"):
            training_batches(faces, tmp_path / "index.parquet", 4, 0, torch.device("cpu"))


def test_a_checkpoint_of_something_else_is_refused(recogniser):
    with pytest.raises(CheckpointError, match=r"not a tokenizer with its codebooks"):
        load_codec(recogniser, CPU)


def test_a_batch_depends_on_seed_step_and_part_alone(faces, split):
    batches = training_batches(faces, split / "index.parquet", 4, 1, CPU)
    first = batches.draw(7).images
    torch.rand(100)
    assert torch.equal(first, batches.draw(7).images)
    for other in (batches.draw(8), batches.draw(7, part=1), batches._replace(seed=2).draw(7)):
        assert not torch.equal(first, other.images)


def test_streams_of_one_step_differ():
    drawn = {
        tuple(torch.randint(0, 1 << 30, (4,), generator=generator(*key)).tolist())
        for key in [(1, "batch", 20), (1, "revive", 20), (1, "batch", 21), (2, "batch", 20), (1, "batch", 20, 1)]
    }
    assert len(drawn) == 5
    again = torch.randint(0, 1 << 30, (4,), generator=generator(1, "revive", 20))
    assert tuple(again.tolist()) in drawn


def test_the_loss_of_stages_1_and_2_is_its_weighted_terms(second, faces):
    codec, _ = load_codec(second, CPU)
    z_e = codec.tokenizer.encode(to_float(open_store(faces).images[:8])).detach()
    weights = codebook_training.CodebookLossWeights(2.0, 0.0, RouterLossWeights(1.0, 0.1, 0.5))
    terms, quantised = codebook_training.codebook_training_loss(codec, z_e, MeanUse(4, 16), weights)
    errors = group_errors(z_e, codec.codebooks.weight.detach(), codec.tokenizer.metric)
    expected = 2 * terms["codebook"] + terms["balance"] + 0.1 * terms["confidence"]
    torch.testing.assert_close(terms["loss"], expected + 0.5 * terms["quality"] / errors.mean())
    assert torch.equal(quantised.assignment.group, codec.router(z_e).argmax(1))
    assert terms["groups"] == len(quantised.assignment.group.unique())


def test_the_loss_of_stage_3_reaches_the_decoder_alone(second, faces, recogniser):
    codec, _ = load_codec(second, CPU)
    batch = to_float(open_store(faces).images[:4])
    terms = stage3.stage3_loss(codec, batch, load_frozen(recogniser, CPU), ImageLossWeights(1.0, 0.1, 0.1))
    torch.testing.assert_close(terms["loss"], terms["pixels"] + 0.1 * terms["perceptual"] + 0.1 * terms["identity"])
    terms["loss"].backward()
    assert all(p.grad is not None for p in codec.tokenizer.decoder.parameters())
    frozen = [*codec.tokenizer.encoder.parameters(), codec.codebooks.weight, *codec.router.parameters()]
    assert all(p.grad is None for p in frozen)


def test_augmented_faces_stay_in_range():
    faces = augment(torch.rand(64, 3, 32, 32), generator(0, "batch", 0))
    assert faces.shape == (64, 3, 32, 32)
    assert 0 <= faces.min() <= faces.max() <= 1


def test_learning_rate_rises_and_falls():
    rates = [learning_rate(s, 100, 1.0, 5) for s in range(100)]
    assert rates[0] == 0.2
    assert max(rates) == rates[4] == rates[5] == 1.0
    assert rates[52] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] < 0.001


def open_images(faces):
    from stscq.data.store import open_store

    return open_store(faces).images


def test_titok_takes_over_the_decoder(tuned, faces):
    teacher, _ = load_codec(tuned, CPU)
    titok = build(**json.loads(TITOK))
    tokenizer_training.start_titok(titok, teacher, tuned, np.asarray(open_images(faces)[:20]), seed=0)
    assert titok.pixel_quantize.embedding.weight.std() > 0.1 * teacher.codebooks.weight.std()
    assert same_tensors(titok.pixel_decoder.state_dict(), teacher.tokenizer.decoder.state_dict())
