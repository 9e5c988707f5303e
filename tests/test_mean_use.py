"""Eq. 8 with fewer images in a batch than groups: ḡ over batches lets all groups be used and images be decided."""

import pytest
import torch

from stscq.quantization.losses import RouterLossWeights, balance_loss, router_losses
from stscq.quantization.mean_use import REMEMBERED, MeanUse
from stscq.quantization.router import Router
from stscq.training.codebook_training import CodebookLossWeights
from stscq.training.loop import learning_rate


def test_with_enough_images_it_is_the_mean_of_the_batch():
    random = torch.Generator().manual_seed(0)
    mean_use = MeanUse(4, batch=REMEMBERED * 4)
    for _ in range(2):
        g = torch.randn(16, 4, generator=random).softmax(1).requires_grad_()
        mean = mean_use(g)
        assert torch.equal(mean, g.mean(0))
        (found,) = torch.autograd.grad(balance_loss(mean), g)
        (wanted,) = torch.autograd.grad(balance_loss(g.mean(0)), g)
        assert torch.equal(found, wanted)


def test_with_fewer_it_is_a_running_mean_with_the_gradient_of_a_batch():
    mean_use = MeanUse(4, batch=4)  # a quarter of what is remembered
    g = torch.eye(4)[:1].expand(4, 4).clone().requires_grad_()  # all four in group 0
    mean = mean_use(g)
    torch.testing.assert_close(mean.detach(), 0.75 * torch.full((4,), 0.25) + 0.25 * torch.eye(4)[0])
    (found,) = torch.autograd.grad(mean @ torch.arange(4.0), g)
    torch.testing.assert_close(found, torch.arange(4.0).expand(4, 4) / 4)  # not a quarter of it


def train(memory, M=32, batch=8, steps=1500, lr=0.01, seed=0):
    """Router and nothing else, on 64 kinds of images and fixed groups; g of 1280 images that come after."""
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    T = d = 4
    centres = torch.randn(M, T, d, generator=random) * torch.linspace(0.5, 1.5, M)[:, None, None]
    kinds = torch.randn(2 * M, T, d, generator=random)

    def draw(n):
        noise = 0.1 * torch.randn(n, T, d, generator=random)
        return kinds[torch.randint(0, 2 * M, (n,), generator=random)] + noise

    router, mean_use = Router(M, T, d, 16), MeanUse(M, batch)
    optimiser = torch.optim.AdamW(router.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.0)
    weights = CodebookLossWeights(1.0, 0.0, RouterLossWeights(1.0, 0.1, 1.0), confidence_end=1.0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate(step, steps, lr, steps // 20)
        z = draw(batch)
        g = router(z).softmax(1)
        errors = (z[:, None] - centres).square().mean((2, 3))
        mean = mean_use(g) if memory else g.mean(0)
        router_losses(g, mean, errors, weights.at(step / steps).router)["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
    with torch.no_grad():
        return router(draw(40 * M)).softmax(1)


@pytest.mark.slow
def test_a_router_of_four_times_as_many_groups_as_a_batch_is_decided_and_uses_all():
    g = train(memory=True)
    assert torch.special.entr(g).sum(1).mean() < 0.1
    assert len(g.argmax(1).unique()) == 32
