"""Pretraining from nothing, what it measures, and what is shipped of it."""

import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch

from stscq.backbones import build
from stscq.backbones.maskgit_vqgan import fold, unfold
from stscq.backbones.pretrained import load_exactly, read_weights
from stscq.data.orl import orl_folder, read_orl
from stscq.data.pairs import make_pairs, write_pairs
from stscq.data.store import open_store
from stscq.errors import CheckpointError, DataError, ParamsError
from stscq.evaluation import overlap
from stscq.evaluation import tokenizer as measure
from stscq.evaluation.quality import psnr
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.trained_codec import TrainedCodec, load_codec
from stscq.recognition.dlib_resnet import DlibResNet
from stscq.recognition.load import load_recogniser
from stscq.report import learning_curves
from stscq.training import pretrain, ship, stage1_tokenizer, tokenizer_training
from stscq.training.encode import encode_rows
from stscq.training.faces import hold_out
from stscq.training.loop import read_log
from stscq.training.losses import ImageLossWeights
from stscq.weights.download import fetch
from stscq.weights.manifest import Shipped, WeightsError, manifest
from tests.conftest import ROOT
from tests.trained import IBQ, TITOK, TOKENIZER, same_tensors, weights

STEM = json.dumps(
    {"family": "maskgit_vqgan", "image_size": 32, "channels": 8, "multipliers": [1, 2], "blocks": 1, "d": 8, "K": 16,
     "stem": 2}
)  # fmt: skip
PRETRAIN = {
    "model": STEM, "seed": 1, "steps": 6, "continuous_steps": 3, "batch": 4, "lr": 0.002, "weight_decay": 0.01,
    "codebook": 1.0, "commitment": 0.25, "entropy": 0.05, "continuous_share": 0.5, "validation": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def pretrained(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrain") / "small"
    pretrain.main(faces, out, **PRETRAIN)
    (out / "pretrain.run.json").write_text('{"machine": "here"}')  # which the command line writes
    return out


def test_folding_is_undone_and_keeps_neighbours_together():
    x = torch.arange(2 * 3 * 4 * 4.0).view(2, 3, 4, 4)
    assert torch.equal(unfold(fold(x, 2), 2), x)
    assert fold(x, 2).shape == (2, 12, 2, 2)
    assert fold(x, 2)[0, :4, 0, 0].tolist() == [0, 1, 4, 5]
    assert fold(x, 1) is x


@pytest.mark.parametrize("family", ["maskgit_vqgan", "ibq"])
def test_a_stem_changes_the_grid_and_nothing_else_at_1(family):
    sizes = {"image_size": 32, "channels": 8, "blocks": 1, "d": 8, "K": 16}
    small = build(family, **sizes, multipliers=[1, 2], stem=4)
    assert (small.grid, small.T) == (4, 16)
    images = torch.rand(2, 3, 32, 32)
    assert small.decode(small.encode(images)).shape == images.shape
    plain, named = (build(family, **sizes, multipliers=[1, 2], **more) for more in ({}, {"stem": 1}))
    assert {n: v.shape for n, v in plain.state_dict().items()} == {n: v.shape for n, v in named.state_dict().items()}
    assert plain.grid == 16


def test_same_seed_same_weights_and_a_learning_curve(faces, pretrained, tmp_path):
    pretrain.main(faces, tmp_path / "again", **PRETRAIN)
    assert same_tensors(weights(pretrained), weights(tmp_path / "again"))
    curve = [line for line in read_log(pretrained / "log.jsonl") if "psnr" in line]
    assert [line["step"] for line in curve] == [0, 5]
    assert "psnr_quantised" not in curve[0]
    assert 0 < curve[1]["psnr_quantised"] < 60


@pytest.mark.parametrize("model", [IBQ, TITOK])
def test_the_other_families(faces, pretrained, model, tmp_path):
    teacher = tmp_path / "teacher"
    pretrain.main(
        faces, teacher, **{**PRETRAIN, "model": STEM.replace('"stem": 2', '"stem": 1').replace("[1, 2]", "[1, 1, 2]")}
    )
    more = {"pixel_decoder": teacher, "warm_up_steps": 2, "muon": True} if model == TITOK else {}
    pretrain.main(faces, tmp_path / "out", **{**PRETRAIN, "model": model, **more})
    log = read_log(tmp_path / "out" / "log.jsonl")
    assert ("pixels" in log[0]) == (model != TITOK)  # a titok's warm-up paints no pixels
    assert {"pixels", "codebook", "psnr", "psnr_quantised"} <= log[-1].keys()


def test_muon_needs_a_transformer(faces, tmp_path):
    with pytest.raises(ParamsError, match="the model is IBQ"):
        pretrain.main(faces, tmp_path / "out", **{**PRETRAIN, "model": IBQ, "muon": True})


def test_a_similar_model_lends_what_fits(faces, pretrained, tmp_path):
    model = json.dumps({**json.loads(STEM), "d": 4, "K": 8})
    still = {**PRETRAIN, "model": model, "lr": 1e-9, "continuous_steps": 6}
    pretrain.main(faces, tmp_path / "out", like=pretrained, **still)
    pretrain.main(faces, tmp_path / "from_nothing", **still)
    theirs, ours, others = weights(pretrained), weights(tmp_path / "out"), weights(tmp_path / "from_nothing")
    assert {name.split(".")[1] for name in ours} == {"encoder", "decoder", "weight"}
    lent = [name for name, tensor in ours.items() if tensor.shape == theirs[name].shape]
    assert 4 < len(lent) < len(ours)
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name] if name in lent else others[name], atol=1e-5, rtol=1e-5)


def test_validation_faces_are_not_trained_on():
    held_out, rows = hold_out(np.arange(100), 30, seed=1)
    assert len(held_out) == 30
    assert sorted([*held_out, *rows]) == list(range(100))
    assert not np.array_equal(held_out, hold_out(np.arange(100), 30, seed=2)[0])


def test_part_of_a_batch_stays_unquantised(pretrained):
    codec, _ = load_codec(pretrained, torch.device("cpu"))
    seen = []
    decode = codec.tokenizer.decode
    codec.tokenizer.decode = lambda z: (seen.append(z.detach()), decode(z))[1]
    faces = torch.rand(4, 3, 32, 32)
    weights = tokenizer_training.TokenizerLossWeights(1.0, 0.25, 0.0, ImageLossWeights(1.0, 0.0, 0.0))
    terms = tokenizer_training.tokenizer_loss(codec, faces, None, weights, continuous_share=0.5)
    z_e = codec.tokenizer.encode(faces)
    assert torch.equal(seen[0][:2], z_e[:2])
    torch.testing.assert_close(seen[0][2:], codec.codebooks(z_e[2:]).z_q)
    pixels, commit = terms["pixels"], terms["codebook"]  # the same value, other gradients
    torch.testing.assert_close(terms["loss"], pixels + 1.25 * commit)
    terms["loss"].backward()
    assert codec.codebooks.weight.grad.abs().sum() > 0
    assert "codebook" not in tokenizer_training.tokenizer_loss(codec, faces, None, weights, continuous_share=1.0)


@pytest.fixture
def pairs_store(faces, tmp_path):
    """The faces, with pairs of six people in two folds."""
    store = tmp_path / "store"
    store.mkdir()
    for name in ("images.npy", "index.parquet"):
        (store / name).symlink_to(faces / name)
    index = open_store(faces).index
    people = index[index.identity.isin([f"s{i}" for i in range(1, 7)])]
    write_pairs(make_pairs(people, folds=2, seed=1).groupby(["fold", "same"]).head(10), store)
    return store


def test_a_tokenizer_is_measured_unquantised_and_quantised(pretrained, pairs_store, tmp_path):
    measure.main(pretrained, pairs_store, tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["pairs"] == 40
    assert found["original"]["accuracy"] > 85  # 32 pixels
    for kind in ("unquantised", "global"):
        assert 0 <= found[kind]["accuracy"] <= 100
        assert -1 <= found[kind]["ids"] < 0.99  # six steps of training
        assert 5 < found[kind]["psnr"] < 40
    assert found["unquantised"] != found["global"]


def test_a_set_without_pairs_is_refused(pretrained, faces, tmp_path):
    with pytest.raises(DataError, match=r"pairs\.parquet: missing; take a set with pairs"):
        measure.main(pretrained, faces, tmp_path / "found.json")


def test_what_is_shipped_starts_stage_1(pretrained, places, pairs_store, tmp_path):
    measure.main(pretrained, pairs_store, tmp_path / "found.json")
    stem, left_out = tmp_path / "tokenizers" / "small", tmp_path / "left_out.json"
    left_out.write_text(json.dumps({"leave_out": ["s1/1", "s1/2"]}))
    ship.main(pretrained, tmp_path / "found.json", places["store"], left_out, stem, before=pretrained)
    card = json.loads(stem.with_suffix(".json").read_text())
    assert card["records"] == [{"machine": "here"}] * 2
    assert card["lent"] is None
    assert ship.lent({"arguments": {"like": str(pretrained)}}) == {"by": "small", "images_seen": 24}
    assert "those tensors of ibq that fit, after its 24 pict" in ship.beginning(
        {"lent": {"by": "ibq", "images_seen": 24}}
    )
    assert [len(curve) for curve in card["curves"]] == [2, 2]
    assert card["curves"][1][-1]["images"] == 5 * 4
    assert card["images_seen"] == 24
    assert card["bytes"] == stem.with_suffix(".safetensors").stat().st_size < 2.3 * card["parameters"] + 20_000
    assert card["fp16"]["most"] < 2  # grey levels
    text = stem.with_suffix(".md").read_text()
    faces = len(open_store(places["store"]).images)
    assert f"{faces - 2 - PRETRAIN['validation']:,} faces" in text
    assert ship.thinned([{"step": step} for step in range(60)])[-1] == {"step": 59}
    assert f"{card['measured']['unquantised']['accuracy']:.2f} %" in text
    with pytest.raises(ParamsError, match="like and start"):
        pretrain.main(places["store"], tmp_path / "x", like=pretrained, start=pretrained, **PRETRAIN)
    rows = learning_curves.points(card)
    assert rows.groupby(["part", "kind"]).size().to_dict() == {
        ("pretrain", "unquantised"): 2, ("pretrain", "through its one codebook"): 1,
        ("refine", "unquantised"): 2, ("refine", "through its one codebook"): 1,
    }  # fmt: skip
    learning_curves.main(stem.parent, tmp_path / "curves")
    assert (tmp_path / "curves.svg").stat().st_size > 5000
    settings = {**TOKENIZER, "model": STEM, "continuous_steps": 0, "lr": 1e-9, "steps": 1}
    stage1_tokenizer.main(**places, out=tmp_path / "first", published=stem.with_suffix(".safetensors"), **settings)
    trained, _ = load_codec(pretrained, torch.device("cpu"))
    started, _ = load_codec(tmp_path / "first", torch.device("cpu"))
    images, rows = open_store(places["store"]).images, np.arange(8)
    a, b = (encode_rows(codec.tokenizer, images, rows) for codec in (trained, started))
    assert (a - b).abs().max() < 0.01 * a.std()
    assert (trained.codebooks.weight - started.codebooks.weight).abs().max() < 0.01 * trained.codebooks.weight.std()


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """The faces at 64 pixels, for the tokenizers that are shipped."""
    faces = list(islice(read_orl(orl_folder(), 64), 0, 400, 40))
    return np.stack([face.image for face in faces])


SHIPPED = [weight for weight in manifest().values() if isinstance(weight.source, Shipped)]


@pytest.mark.parametrize("weight", SHIPPED, ids=lambda weight: weight.name)
def test_a_shipped_file_is_the_pinned_one(weight, tmp_path):
    assert fetch(tmp_path, weight) == "copied from the package, agrees with the manifest's SHA-256"
    assert (tmp_path / weight.path).stat().st_size == weight.size
    card = json.loads((ROOT / "stscq" / weight.source.file).with_suffix(".json").read_text())
    assert card["sha256"] == weight.sha256


CONVOLUTIONAL = ((27, 0.8), (21, 0.8))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("maskgit_vqgan", CONVOLUTIONAL),
        ("ibq", CONVOLUTIONAL),
        ("titok_s", ((25, 0.8), (19, 0.3))),
        ("titok_l", ((23, 0.4), (19, 0.3))),
    ],
)
def test_a_shipped_tokenizer_shows_people(name, expected, larger):
    """expected: dB and share recognised, at least, unquantised and through its one codebook. Of ten people; by chance
    0.1. A titok shows fewer of them."""
    file = ROOT / f"stscq/tokenizers/{name}.safetensors"
    card = json.loads(file.with_suffix(".json").read_text())
    tensors = read_weights(file)
    tokenizer = build(**card["model"])
    load_exactly(tokenizer, tensors, file)
    codec = TrainedCodec(tokenizer.eval(), Codebooks(tokenizer.take_codebook()[None, None], tokenizer.metric), None)
    for latents, (least, recognised) in zip((measure.unquantised, measure.through_codebook), expected, strict=True):
        shown = measure.reconstruct(codec, larger, latents)
        assert psnr(larger, shown).mean() > least
        found = DlibResNet().embed(np.concatenate([larger, shown]))
        similar = found[:10] @ found[10:].T
        assert (similar.argmax(0) == np.arange(10)).mean() >= recognised


def test_the_shipped_recogniser_tells_people_apart():
    faces = list(islice(read_orl(orl_folder(), 64), 0, 400, 5))  # two of each of forty people
    recogniser = load_recogniser(str(ROOT / "stscq/recognisers/distilled.onnx"))
    embeddings = recogniser.embed(np.stack([face.image for face in faces]))
    likest = (embeddings[::2] @ embeddings[1::2].T).argmax(1)
    assert (likest == np.arange(40)).mean() > 0.5  # by chance 0.025


def test_a_damaged_package_is_told(tmp_path):
    weight = SHIPPED[0]
    with pytest.raises(WeightsError, match=r"refused: .* install it again"):
        fetch(tmp_path, replace(weight, sha256="0" * 64))
    assert not (tmp_path / weight.path).exists()


def test_faces_of_tested_people_are_left_out(pairs_store, faces, tmp_path):
    """ORL against its own pairs: every picture in them has its double, and is not trained on."""
    index = open_store(faces).index
    doubles = np.unique(pd.read_parquet(pairs_store / "pairs.parquet")[["a", "b"]])
    overlap.main(faces, json.dumps([str(pairs_store)]), tmp_path / "overlap.json", limit=0.9999)
    found = json.loads((tmp_path / "overlap.json").read_text())
    assert found["pictures"] == 400
    assert set(found["leave_out"]) == set(index.image_id[doubles])
    likeness = [one["likeness"] for one in found["likest"]]
    assert likeness == sorted(likeness, reverse=True)
    seen = set()
    take = pretrain.Batches
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            pretrain, "Batches", lambda images, rows, *more: (seen.update(rows), take(images, rows, *more))[1]
        )
        pretrain.main(faces, tmp_path / "out", leave_out=tmp_path / "overlap.json", **PRETRAIN)
    assert len(seen) == 400 - len(doubles) - PRETRAIN["validation"]
    assert not seen & set(doubles.tolist())


def test_the_most_alike_worked_by_hand():
    ours, theirs = np.eye(3, dtype=np.float32)[:2], np.array([[0.6, 0.8, 0], [0, 0.6, 0.8]], np.float32)
    likeness, nearest = overlap.most_alike(ours, theirs, batch=1)
    assert likeness.tolist() == pytest.approx([0.6, 0.8])
    assert nearest.tolist() == [0, 0]


def test_a_finished_pretraining_goes_on(faces, pretrained, tmp_path):
    more = {**PRETRAIN, "steps": 4, "continuous_steps": 0}
    pretrain.main(faces, tmp_path / "more", start=pretrained, **{**more, "lr": 1e-9})
    before, after = weights(pretrained), weights(tmp_path / "more")
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-4, rtol=1e-4)
    _, recipe = load_codec(tmp_path / "more", torch.device("cpu"))
    assert pretrain.images_seen(recipe) == (6 + 4) * 4
    with pytest.raises(CheckpointError, match="goes on with its codebook; set continuous_steps to 0, not 3"):
        pretrain.main(faces, tmp_path / "other", start=pretrained, **PRETRAIN)
    with pytest.raises(CheckpointError, match="of another model"):
        pretrain.main(faces, tmp_path / "other", start=pretrained, **{**more, "model": IBQ})
