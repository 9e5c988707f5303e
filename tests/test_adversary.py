"""The adversarial term: the published discriminator and losses, who learns what from it, and unfinished runs."""

import json
from pathlib import Path

import pytest
import torch

from stscq.training import loop, stage1_tokenizer, stage3
from stscq.training.adversary import Adversary, Discriminator, chosen_adversary, hinge_loss, lecam_loss
from tests.by_rule import by_rule, rng
from tests.trained import ADVERSARY, CPU, STAGE3, TOKENIZER, same_tensors, stop_after, weights

REFERENCE = json.loads((Path(__file__).parent / "data" / "discriminator_reference.json").read_text())


def pictures(kind, size):
    return torch.from_numpy(rng(f"{kind}{size}").random((2, 3, size, size))).float().requires_grad_(True)


@pytest.mark.parametrize("size", [64, 96, 131])
def test_logits_losses_and_gradients_are_the_published_ones(size):
    expected = REFERENCE["sizes"][str(size)]
    network = Discriminator(32)
    network.load_state_dict(by_rule(network), strict=False)
    photos, reconstructions = pictures("photos", size), pictures("reconstructions", size)
    real, made = network(photos), network(reconstructions)
    assert real.shape == (2, 1, 16, 16)
    found = torch.stack([real.mean(), real.std(), real[0, 0, 3, 5], real[1, 0, 15, 15], made.mean()])
    assert found.tolist() == pytest.approx(expected["logits"], rel=1e-5, abs=1e-6)
    past = torch.tensor(0.1), torch.tensor(-0.2)
    loss = hinge_loss(real, made) + 0.001 * lecam_loss(real.mean(), made.mean(), *past)
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-6)
    (to_pixels,) = torch.autograd.grad(-made.mean(), reconstructions, retain_graph=True)
    found = [to_pixels.norm().item(), 1e3 * to_pixels[0, 1, 7, 9].item()]
    assert found == pytest.approx(expected["to_pixels"], rel=1e-4)
    loss.backward()
    gradients = {name: parameter.grad.norm().item() for name, parameter in network.named_parameters()}
    assert gradients == pytest.approx(expected["gradients"], rel=1e-4, abs=1e-7)


def adversary(start=0, accumulate=1):
    return Adversary(0.5, start, 32, 1, 0.0, accumulate, CPU)


def test_the_decoder_is_to_mislead_and_the_discriminator_to_tell():
    one, images, reconstruction = adversary(), pictures("photos", 32).detach(), pictures("reconstructions", 32)
    terms = one.add({"loss": torch.tensor(2.0)}, reconstruction, images, step=0)
    assert terms["loss"].item() == pytest.approx(2 - 0.5 * one.discriminator(reconstruction).mean().item())
    own = {name: parameter.grad.clone() for name, parameter in one.discriminator.named_parameters()}
    terms["loss"].backward()
    assert reconstruction.grad.norm() > 0
    assert same_tensors(own, {name: parameter.grad for name, parameter in one.discriminator.named_parameters()})
    direct = adversary().discriminator
    hinge_loss(direct(images), direct(reconstruction.detach())).backward()
    for name, parameter in direct.named_parameters():  # what it compares with was 0: LeCam's share is small, not none
        torch.testing.assert_close(own[name], parameter.grad, rtol=0.01, atol=1e-3)


def test_before_its_start_it_adds_nothing_and_learns_nothing():
    one = adversary(start=3)
    before = one.tensors()
    terms = {"loss": torch.tensor(2.0)}
    assert one.add(terms, pictures("reconstructions", 32), pictures("photos", 32), step=2) is terms
    one.step(0.1)
    assert same_tensors(before, one.tensors())


def test_without_a_weight_there_is_none():
    assert chosen_adversary(0.0, 0, 128, 1, 0.0, 1, CPU) is None


def test_it_learns_to_tell_what_can_be_told():
    one = adversary()
    for step in range(25):
        photos = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
        terms = one.add({"loss": torch.zeros(())}, torch.full_like(photos, 0.5) + 0.1 * photos, photos, step)
        one.step(0.002)
    assert terms["discriminator"] < 0.2
    assert one.past_real > 0 > one.past_reconstructed


@pytest.mark.parametrize("stage", [stage1_tokenizer, stage3])
def test_an_unfinished_run_goes_on_with_its_adversary(stage, places, second, tmp_path, monkeypatch):
    numbers = {**(STAGE3 if stage is stage3 else TOKENIZER), **ADVERSARY, "accumulate": 2, "save_seconds": 0}
    if stage is stage3:
        numbers["start"] = second
    stage.main(**places, out=tmp_path / "whole", **{**numbers, "save_seconds": 1000})
    for _ in range(numbers["steps"] - 1):
        monkeypatch.setattr(loop, "save_tensors", stop_after(loop.save_tensors))
        with pytest.raises(KeyboardInterrupt):
            stage.main(**places, out=tmp_path / "broken", **numbers)
        monkeypatch.undo()
    stage.main(**places, out=tmp_path / "broken", **numbers)
    assert same_tensors(weights(tmp_path / "whole"), weights(tmp_path / "broken"))
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert "adversarial" not in lines[0]
    assert {"adversarial", "discriminator"} <= set(lines[-1])


def test_the_decoder_that_is_to_mislead_becomes_another(places, second, tmp_path):
    for name, more in (("without", {}), ("with", ADVERSARY)):
        stage3.main(**places, start=second, out=tmp_path / name, **STAGE3, **more)
    assert not same_tensors(weights(tmp_path / "without"), weights(tmp_path / "with"))
