"""The lazy Adam of codebooks, accumulation, mixed precision, and what a killed run restores."""

import json

import pytest
import torch
from torch import nn

from stscq.quantization.codebooks import Codebooks
from stscq.quantization.losses import codebook_loss
from stscq.training.lazy_adam import LazyAdam
from stscq.training.loop import Schedule, train
from stscq.training.optimiser import Optimiser
from stscq.training.stage1_tokenizer import main as tokenizer_main
from tests.trained import IBQ, TOKENIZER, train_stages_1_and_2, weights

M, T, K, D = 4, 3, 5, 2


def books(metric, sparse):
    weight = torch.randn(M, T, K, D, generator=torch.Generator().manual_seed(0))
    return Codebooks(weight, metric, sparse)


def latents(step):
    return torch.randn(6, T, D, generator=torch.Generator().manual_seed(100 + step))


def train_books(codebooks, steps, group_of_step):
    optimiser = Optimiser(codebooks, lr=0.01, weight_decay=0.0, precision="fp32")
    for step in range(steps):
        group = torch.full((6,), group_of_step(step))
        quantised = codebooks(latents(step), group)
        optimiser.backward(10 * codebook_loss(quantised.z, quantised.z_q))
        optimiser.step()
    return codebooks.weight.detach()


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner"])
def test_the_gradient_of_sparse_codebooks_is_that_of_dense_ones(metric):
    gradients = []
    for sparse in (True, False):
        codebooks = books(metric, sparse)
        quantised = codebooks(latents(0), torch.tensor([0, 2, 2, 0, 2, 0]))
        codebook_loss(quantised.z, quantised.z_q).backward()
        gradients.append(codebooks.weight.grad)
    assert gradients[0].is_sparse
    torch.testing.assert_close(gradients[0].to_dense(), gradients[1])
    # Nothing of groups 1 and 3 is even stored.
    assert set(gradients[0].coalesce().indices()[0].tolist()) == {0, 2}


def test_lazy_adam_is_adam_for_entries_in_use_and_leaves_the_others_alone():
    # IBQ's softmax uses every entry of the group, so all of group 1 is in use in every step.
    start = books("inner", True).weight.detach()
    lazy = train_books(books("inner", True), 5, lambda step: 1)
    dense = train_books(books("inner", False), 5, lambda step: 1)
    torch.testing.assert_close(lazy, dense)
    assert not torch.equal(lazy[1], start[1])
    assert torch.equal(lazy[[0, 2, 3]], start[[0, 2, 3]])


def test_where_lazy_adam_differs_from_adam():
    """Group 0 is used in step 0 only: Adam's momentum moves it on, lazily it keeps still."""
    used_once = train_books(books("inner", True), 1, lambda step: 0)
    lazy = train_books(books("inner", True), 4, lambda step: min(step, 1))
    dense = train_books(books("inner", False), 4, lambda step: min(step, 1))
    assert torch.equal(lazy[0], used_once[0])
    assert not torch.allclose(dense[0], used_once[0])


def test_lazy_adam_is_torchs_sparse_adam():
    """But for where epsilon stands; the same rows move, from single entries and from whole groups."""
    for metric in ("euclidean", "inner"):
        ends = []
        for kind in (LazyAdam, torch.optim.SparseAdam):
            codebooks = books(metric, True)
            optimiser = kind([codebooks.weight], lr=0.01, betas=(0.9, 0.99))
            for step in range(6):
                quantised = codebooks(latents(step), torch.tensor([0, 2, 2, 0, 2, step % 2]))
                codebook_loss(quantised.z, quantised.z_q).backward()
                optimiser.step()
                optimiser.zero_grad()
            ends.append(codebooks.weight.detach())
        torch.testing.assert_close(*ends, atol=1e-5, rtol=1e-4)


def test_averages_exist_for_used_groups_only_and_survive_a_restart():
    ends = []
    for restarts in (False, True):
        codebooks = books("euclidean", True)
        optimiser = Optimiser(codebooks, lr=0.01, weight_decay=0.0, precision="fp32")
        for step, group in enumerate([2, 2, 0, 2, 3]):
            if restarts:
                tensors = {name: tensor.clone() for name, tensor in optimiser.tensors().items()}
                optimiser = Optimiser(codebooks, lr=0.01, weight_decay=0.0, precision="fp32")
                optimiser.restore(tensors)
            quantised = codebooks(latents(step), torch.full((6,), group))
            optimiser.backward(codebook_loss(quantised.z, quantised.z_q))
            optimiser.step()
            state = optimiser.optimisers["lazy"].state[codebooks.weight]
            assert len(state["average"]) == (1, 1, 2, 2, 4)[step]  # room for 3 groups grows by doubling
            assert state["slot"].tolist() == ([-1, -1, 0, -1] if step < 2 else [1, -1, 0, -1 if step < 4 else 2])
        ends.append(codebooks.weight.detach())
    assert torch.equal(*ends)


def test_gradients_of_both_kinds_are_clipped_together():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.codebooks = books("euclidean", True)
            self.other = nn.Parameter(torch.ones(3))

    model = Both()
    optimiser = Optimiser(model, lr=0.01, weight_decay=0.0, precision="fp32")
    quantised = model.codebooks(latents(0))
    optimiser.backward(1000 * codebook_loss(quantised.z, quantised.z_q) + 1000 * model.other.sum())
    seen = {}
    for kind in optimiser.optimisers.values():
        kind.step = lambda kind=kind: seen.update(
            {
                p: (p.grad.coalesce().values() if p.grad.is_sparse else p.grad).clone()
                for p in kind.param_groups[0]["params"]
            }
        )
    optimiser.step()
    assert len(seen) == 2
    total = sum(gradient.square().sum() for gradient in seen.values()).sqrt()
    assert total.item() == pytest.approx(1.0, rel=1e-4)


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(T * D, T * D)
        self.codebooks = books("euclidean", True)


def toy_loss(model, step, part):
    z = model.linear(latents(10 * step + part).flatten(1)).view(-1, T, D)
    quantised = model.codebooks(z)
    return {"loss": codebook_loss(quantised.z, quantised.z_q) + (z - 1).square().mean()}


@pytest.mark.parametrize(("precision", "muon"), [("fp32", False), ("fp16", False), ("fp32", True)])
def test_a_broken_run_ends_as_an_unbroken_one_with_all_optimisers_and_a_loss_scale(tmp_path, precision, muon):
    torch.manual_seed(0)
    start = Toy().state_dict()
    ends = []
    for name, breaks in (("whole", False), ("broken", True)):
        schedule = Schedule(8, 6, 0.01, 0.01, accumulate=2, precision=precision, save_seconds=0.0)
        for attempt in range(2 if breaks else 1):
            model = Toy()
            model.load_state_dict(start)

            def loss(step, part, model=model, dies=breaks and attempt == 0):
                if dies and (step, part) == (5, 1):
                    raise KeyboardInterrupt
                return toy_loss(model, step, part)

            try:
                train(
                    model, loss, schedule, partial=tmp_path / name / "state.safetensors",
                    log=tmp_path / name / "log.jsonl", recipe_hash="x",
                    matrices=[model.linear.weight] if muon else [],
                )  # fmt: skip
            except KeyboardInterrupt:
                continue
        ends.append(model.state_dict())
    for key, value in ends[0].items():
        assert torch.equal(value, ends[1][key]), key
        assert not torch.equal(value, start[key]), key


def test_muon_moves_matrices_alone_by_steps_of_adamws_size():
    torch.manual_seed(0)
    model = nn.Linear(32, 64)
    before = [p.detach().clone() for p in (model.weight, model.bias)]
    optimiser = Optimiser(model, 0.01, 0.0, "fp32", [model.weight])
    assert [len(o.param_groups[0]["params"]) for o in optimiser.optimisers.values()] == [1, 1]
    optimiser.backward(model(torch.randn(128, 32)).square().mean())
    optimiser.step()
    weight, bias = (after.detach() - start for after, start in zip((model.weight, model.bias), before, strict=True))
    assert weight.square().mean().sqrt().item() == pytest.approx(0.2 * 0.01 * (64 / 64) ** 0.5, rel=0.3)
    assert torch.linalg.svdvals(weight / 0.01).min() > 0.5  # every direction moves, as AdamW's steps do not
    assert bias.abs().mean().item() == pytest.approx(0.01, rel=0.01)


def test_accumulated_batches_are_one_large_batch(tmp_path, monkeypatch):
    """The gradient that a step of two batches of 6 goes by is that of one of 12."""
    x, gradients = torch.arange(24.0).view(12, 2) / 24, []
    monkeypatch.setattr(Optimiser, "step", lambda self: gradients.append(self.dense[0].grad.clone()))
    for parts in (1, 2):
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        pieces = x.split(12 // parts)
        train(
            model, lambda step, part, m=model, p=pieces: {"loss": m(p[part]).square().mean()},
            Schedule(1, 12 // parts, 0.1, 0.0, accumulate=parts), partial=tmp_path / f"{parts}",
            log=tmp_path / f"{parts}.jsonl", recipe_hash="x",
        )  # fmt: skip
    torch.testing.assert_close(*gradients)


def test_where_one_optimiser_overflows_none_moves():
    """All gradients are clipped by one norm, so the overflow of the router's would reach the codebooks."""
    model = nn.ModuleDict({"books": Codebooks(torch.randn(M, T, K, D), "euclidean", True), "head": nn.Linear(D, 1)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimiser = Optimiser(model, 0.01, 0.0, "fp16")
    for overflow, moves in ((torch.inf, False), (torch.nan, False), (1.0, True)):
        quantised = model["books"](latents(0), torch.zeros(6, dtype=torch.int64))
        scale = optimiser.scaler.get_scale()
        optimiser.backward(codebook_loss(quantised.z, quantised.z_q) + overflow * model["head"].weight.sum())
        optimiser.step()
        moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
        assert moved == ({"books.weight", "head.weight"} if moves else set())
        assert optimiser.scaler.get_scale() == (scale if moves else scale / 2)


def test_the_log_has_the_mean_of_the_parts(tmp_path):
    model = nn.Linear(1, 1)

    def loss(step, part):
        return {"loss": model.weight.sum() * 0 + part}

    train(
        model, loss, Schedule(1, 2, 0.1, 0.0, accumulate=4), partial=tmp_path / "state", log=tmp_path / "log.jsonl",
        recipe_hash="x",
    )  # fmt: skip
    assert json.loads((tmp_path / "log.jsonl").read_text())["loss"] == 1.5


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_stages_train_in_mixed_precision_near_fp32(places, tmp_path, precision):
    ends = {}
    for name in ("fp32", precision):
        tuned = tmp_path / name / "tuned"
        tokenizer_main(**places, out=tuned, precision=name, **{**TOKENIZER, "model": IBQ})
        train_stages_1_and_2(places, tuned, tmp_path / name, precision=name)
        ends[name] = weights(tuned)
    a, b = (ends[name]["tokenizer.decoder.conv_in.weight"] for name in ("fp32", precision))
    assert a.dtype == b.dtype == torch.float32
    assert not torch.equal(a, b)
    torch.testing.assert_close(a, b, atol=0.02, rtol=0)
