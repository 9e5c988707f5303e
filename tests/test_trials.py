"""Trials of the reviewers' questions: symbols and bytes, known numbers, and the workflow's own training."""

import json
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest
import torch

from stscq.errors import StscqError
from stscq.evaluation import original
from stscq.evaluation.trials import answer, library
from stscq.evaluation.trials.codebooks import Scheme, quantiser_of, selections, train_codec, weights_of
from stscq.evaluation.trials.measure import diversity, errors
from stscq.evaluation.trials.quantiser import bytes_of
from stscq.evaluation.trials.questions import LOSSES, SIZES, trials_of
from stscq.evaluation.trials.setting import open_setting
from stscq.quantization.search import Assignment
from stscq.report.summary import read_summary
from stscq.report.table import MAKERS
from stscq.report.trials import trial_frames
from stscq.training import stage1_codebooks, stage2
from tests.report_fixtures import make_summary
from tests.trained import CODEBOOKS, STAGE2, same_tensors, weights

needs_library = pytest.mark.skipif(
    find_spec(library.PACKAGE) is None, reason="vector-quantize-pytorch is not installed"
)


def test_parts_and_their_number_are_inverse():
    parts = torch.tensor(list(product(range(2), range(4), range(8))))
    numbers = library.joined(parts, [2, 4, 8])
    assert torch.equal(numbers.sort().values, torch.arange(64))
    assert torch.equal(library.parted(numbers, [2, 4, 8]), parts)
    assert library.joined(torch.tensor([3, 5]), [8, 8]) == 3 + 8 * 5


def test_bits_that_do_not_divide_are_refused():
    assert library.halves(64) == [8, 8]
    assert library.fours(64) == [4, 4, 4]
    with pytest.raises(StscqError, match=r"trials\.entries = 32: 5 bits"):
        library.fours(32)


def test_without_the_library_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setattr(library, "PACKAGE", "no_such_package")
    with pytest.raises(StscqError, match="pip install vector-quantize-pytorch"):
        library.adapter(library.CHOSEN["fsq"], 16, 8)


@needs_library
@pytest.mark.parametrize("kind", library.CHOSEN)
def test_symbols_of_the_library_say_all_that_its_quantiser_gives(kind):
    """Through T log2 K bits, and nothing else."""
    torch.manual_seed(0)
    found = library.adapter(library.CHOSEN[kind], 16, 8)
    z = torch.randn(50, 6, 8)
    found.module(z)
    found.module.eval()
    symbols = found.symbols(z)
    assert symbols.shape == (50, 6)
    assert 4 < len(symbols.unique()) <= 16
    assert symbols.min() >= 0
    assert symbols.max() < 16
    torch.testing.assert_close(found.entries(symbols), found.module(z)[0])


@needs_library
def test_what_a_quantiser_holds():
    held = {kind: library.numbers_of(library.adapter(choice, 16, 8).module) for kind, choice in library.CHOSEN.items()}
    assert held["residual_vq"] == 2 * 4 * 8
    assert held["product_vq"] == 2 * 4 * 4
    assert held["lfq"] == (8 + 1) * 4 + (4 + 1) * 8
    assert held["fsq"] == (8 + 1) * 2 + (2 + 1) * 8


def test_diversity_of_symbols():
    every = torch.arange(8)[:, None].expand(8, 3)
    nobody = torch.zeros(8, dtype=torch.int64)
    assert diversity(Assignment(nobody, every), 1, 8)["effective_symbols"] == pytest.approx(8)
    assert diversity(Assignment(nobody, every), 1, 16)["used"] == 0.5
    same = diversity(Assignment(nobody, torch.zeros_like(every)), 1, 8)
    assert same == {"effective_symbols": 1, "symbol_bits": 0, "used": 1 / 8}
    in_groups = diversity(Assignment(torch.arange(8) % 2, torch.zeros_like(every)), 2, 8)
    assert in_groups["symbol_bits"] == pytest.approx(1)  # an entry of another group is another symbol


def test_errors_are_shares_of_the_variance_of_tokens_over_images():
    z = torch.randn(40, 3, 4, generator=torch.Generator().manual_seed(0)) + 5 * torch.arange(3)[:, None]
    assert errors(z, z) == pytest.approx({"error": 0, "spread": 1})
    assert errors(z, z.mean(0).expand_as(z)) == pytest.approx({"error": 1, "spread": 0}, abs=1e-6)
    assert errors(z, 2 * z - z.mean(0)) == pytest.approx({"error": 1, "spread": 4})


def test_weights_of_losses_that_are_off_are_zero():
    stage = {**STAGE2, "confidence_end": 0.5}
    on = weights_of(stage, Scheme(4, 8, False))
    assert on.router == (1.0, 0.1, 1.0)
    assert on.confidence_end == 0.5
    off = weights_of(stage, Scheme(4, 8, False, frozenset(["quality"])))
    assert off.router == (0, 0, 1)
    assert off.at(0.9).router.confidence == 0


@pytest.fixture(scope="session")
def setting(latent_places, tuned):
    return open_setting(**latent_places, start=tuned, stage1=CODEBOOKS, stage2=STAGE2, seed=1)


def test_codebooks_are_those_of_the_workflow(setting, latent_places, tuned, tmp_path):
    """Bit for bit, codebooks and router: K is the tokenizer's, so that no k-means stands between."""
    stage1_codebooks.main(**latent_places, start=tuned, out=tmp_path / "one", **{**CODEBOOKS, "entries": 16})
    stage2.main(**latent_places, start=tmp_path / "one", out=tmp_path / "two", **STAGE2)
    theirs = weights(tmp_path / "two")
    seen = []
    codec = train_codec(setting, Scheme(4, 16, False), lambda step, _: seen.append(step))
    assert torch.equal(codec.codebooks.weight, theirs["codebooks.weight"])
    router = {f"router.{name}": tensor for name, tensor in codec.router.state_dict().items()}
    assert same_tensors(router, {name: tensor for name, tensor in theirs.items() if name.startswith("router.")})
    assert seen == list(range(setting.steps + 1))


def test_codebooks_larger_than_the_tokenizers_can_be_tried(setting):
    codec = train_codec(setting, Scheme(1, 64, False))
    assert codec.codebooks.weight.shape == (1, 64, 64, 8)


def test_bytes_hold_the_symbols(setting):
    quantiser = quantiser_of(train_codec(setting, Scheme(2, 16, True)))
    symbols = quantiser.assign(setting.faces)
    written = bytes_of(quantiser, symbols, setting.identity)
    assert written.bits == 64 * 4 + 1
    back = written.read(written.write(symbols))
    assert torch.equal(back.group, symbols.group)
    assert torch.equal(back.index, symbols.index)
    assert {len(payload) for payload in written.write(symbols)} == {33}
    assert written.coded(symbols).max() <= 33
    assert written.coded(symbols).mean() < 33


def test_nn_never_has_more_error_than_the_router(setting):
    found = selections(train_codec(setting, Scheme(4, 8, False)), setting.faces)
    assert (found.error_nn <= found.error_router).all()
    assert torch.equal(found.error_nn == found.error_router, found.by_nn == found.by_router)


def test_all_subsets_of_the_losses_are_tried():
    trials = trials_of("router_losses", 4, 8, 100)
    assert {frozenset(name for name in LOSSES if trial.about[name]) for trial in trials} == {
        frozenset(name for name, on in zip(LOSSES, chosen, strict=True) if on) for chosen in product([0, 1], repeat=3)
    }
    assert [trial.versus for trial in trials].count(None) == 1


def test_no_token_gets_more_entries_than_faces_train():
    names = [trial.name for trial in trials_of("entries", 4, 8, 100)]
    assert names == ["1x4", "1x16", "1x64", "4x4", "4x16"]
    assert max(SIZES) == 1024


def answered(question, setting, latent_places, tuned, recogniser, split, out):
    """The program, judged by a small recogniser."""
    store, judge = latent_places["store"], str(recogniser / "recogniser.onnx")
    where = out / "original"
    if not where.exists():
        index = split / "index.parquet"
        original.main(
            store=store, pairs=split / "pairs.parquet", faces=store, split=index, out=where, judge=judge, own=True
        )
    answer.main(
        question=question, store=store, split=latent_places["split"], original=where, tested_store=store, start=tuned,
        latents=latent_places["latents"], judge=judge, groups=4, entries=16, seed=1,
        stage1_codebooks=json.dumps(CODEBOOKS), stage2=json.dumps(STAGE2),
        out=out / "trials" / question / "maskgit_vqgan" / "seed1",
    )  # fmt: skip


@needs_library
def test_from_latents_to_tables(setting, latent_places, tuned, recogniser, split, tmp_path):
    """All three questions, from kept latents to what a reader sees."""
    for question in ("quantisers", "router_losses", "entries"):
        answered(question, setting, latent_places, tuned, recogniser, split, tmp_path)
    frames = trial_frames(tmp_path / "trials", {"backbones": ["maskgit_vqgan"], "seeds": [1]})
    rows = frames["trials"].set_index(["question", "trial"])
    bits = rows.loc["quantisers"].bits
    assert (bits.drop(["switchable 4x16", "token_shared 4x16"]) == 64 * 4).all()
    assert bits["switchable 4x16"] == 64 * 4 + 2
    compared = frames["trial_comparisons"].set_index(["question", "trial", "measure"])
    ids = rows.loc["quantisers"].ids
    assert compared.loc["quantisers", "fsq", "ids"].difference == pytest.approx(
        ids["fsq"] - ids["switchable 4x16"], abs=1e-5
    )
    assert set(compared.loc["entries"].versus) == {"1x4", "1x16", "1x64"}
    summary = make_summary(tmp_path / "made")
    for name, frame in frames.items():
        frame.to_csv(summary.folder / f"{name}.csv", index=False)
    tables = {
        name: MAKERS[name](summary).frame for name in ("quantisers", "router_losses", "router_training", "entries")
    }
    assert len(tables["quantisers"]) == 9
    routed = tables["quantisers"].iloc[-1]
    assert (routed.quantiser, routed.bits) == ("routed_tokens", 64 * (4 + 2))
    assert np.isnan(routed.mean_acc)
    assert len(tables["router_losses"]) == 8
    assert (tables["router_losses"].L_ent == "on").sum() == 4
    steps = tables["router_training"].groupby("losses").step.agg(["min", "max"])
    assert (steps == [0, CODEBOOKS["steps"] + STAGE2["steps"]]).all(axis=None)
    assert (tables["router_training"].regret >= -1e-6).all()
    assert tables["entries"]["ids_vs_one_group"].notna().sum() == (tables["entries"].groups == 4).sum()
    for name, frame in frames.items():  # with one question answered, the tables of the others are empty
        frame[frame.question == "entries"].to_csv(summary.folder / f"{name}.csv", index=False)
    partly = read_summary(summary.folder)
    left = {name for name in tables if not MAKERS[name](partly).frame.empty}
    assert left == {"entries"}


def test_tables_without_trials_are_empty(tmp_path):
    summary = make_summary(tmp_path)
    for name in ("quantisers", "router_losses", "router_training", "entries"):
        assert MAKERS[name](summary).frame.empty
