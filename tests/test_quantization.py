"""Codebooks, router and losses: gradients, shapes, and numbers worked by hand."""

import math

import pytest
import torch

from stscq.quantization.codebooks import Codebooks, straight_through
from stscq.quantization.initialise import global_from_latents, grow, token_shared, token_specific
from stscq.quantization.losses import RouterLossWeights, balance_loss, confidence_loss, quality_loss, router_losses
from stscq.quantization.router import Router


# Not for inner products: the entry with the largest one with an entry need not be itself.
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("M", "S"), [(1, 1), (1, 5), (3, 5)])
def test_quantising_twice_changes_nothing(metric, M, S):
    torch.manual_seed(0)
    books = Codebooks(torch.randn(M, S, 8, 4), metric)
    z_q = books(torch.randn(6, 5, 4)).z_q
    assert torch.allclose(books(z_q.detach()).z_q, z_q, atol=1e-6)


def test_entries_of_one_group_serve_one_image():
    books = Codebooks(torch.randn(4, 5, 8, 3), "euclidean")
    q = books(torch.randn(6, 5, 3))
    for b in range(6):
        for t in range(5):
            entry = books.weight[q.assignment.group[b], t, q.assignment.index[b, t]]
            assert torch.equal(q.z_q[b, t], entry)


def test_norms_follow_the_entries():
    """Whatever moves entries in place: a search afterwards finds the new ones."""
    books = Codebooks(torch.randn(1, 1, 8, 4), "euclidean")
    z = torch.randn(1, 1, 4)

    def nearest():
        return int(books.search(z).index)

    kept = books.prepared()
    assert books.prepared() is kept
    for k in range(8):
        with torch.no_grad():
            books.weight.mul_(10)
            books.weight[0, 0, k] = z[0, 0]
        assert nearest() == k
    books.load_state_dict({"weight": torch.cat([10 * books.weight[:, :, 1:], z[None]], 2).detach()})
    assert nearest() == 7
    optimiser = torch.optim.SGD([books.weight], lr=1.0)
    books.weight.grad = torch.zeros_like(books.weight)
    books.weight.grad[0, 0, 7] = 100
    books.weight.grad[0, 0, 3] = books.weight.detach()[0, 0, 3] - z[0, 0]
    optimiser.step()
    assert nearest() == 3


def test_straight_through_passes_the_gradient_to_the_encoder():
    books = Codebooks(torch.randn(1, 1, 8, 4), "euclidean")
    z_e = torch.randn(2, 5, 4, requires_grad=True)
    q = books(z_e)
    (straight_through(q, "euclidean") * torch.arange(4.0)).sum().backward()
    assert torch.equal(z_e.grad, torch.arange(4.0).expand(2, 5, 4))
    assert books.weight.grad is None


def test_only_chosen_entries_get_a_gradient():
    books = Codebooks(torch.randn(3, 5, 8, 4), "euclidean")
    q = books(torch.randn(2, 5, 4))
    q.z_q.sum().backward()
    touched = books.weight.grad.abs().sum(-1) > 0
    expected = torch.zeros_like(touched)
    expected[q.assignment.group[:, None], torch.arange(5), q.assignment.index] = True
    assert torch.equal(touched, expected)


def test_ibq_gradient_reaches_encoder_and_all_entries_of_the_group():
    books = Codebooks(torch.randn(2, 5, 8, 4), "inner")
    z_e = torch.randn(1, 5, 4, requires_grad=True)
    q = books(z_e)
    assert torch.allclose(q.z_q, books.lookup(q.assignment), atol=1e-6)
    (q.z_q**2).sum().backward()
    group = int(q.assignment.group)
    assert (books.weight.grad[group].abs().sum(-1) > 0).all()
    assert (books.weight.grad[1 - group] == 0).all()
    assert z_e.grad.abs().sum() > 0


def test_router_losses_worked_by_hand():
    g = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # decided, and both groups used alike
    assert balance_loss(g.mean(0)).item() == pytest.approx(-math.log(2))
    assert confidence_loss(g).item() == pytest.approx(0.0)
    assert balance_loss(g[0]).item() == pytest.approx(0.0)  # one group only: the worst
    h = torch.full((3, 4), 0.25)
    assert confidence_loss(h).item() == pytest.approx(math.log(4))
    # Both images have a mean error of 5.5 over the groups; the chosen ones have 2 and 4.
    errors = torch.tensor([[2.0, 9.0], [7.0, 4.0]])
    assert quality_loss(g, errors).item() == pytest.approx((2 - 5.5 + 4 - 5.5) / 2)
    assert quality_loss(torch.full((2, 2), 0.5), errors).item() == pytest.approx(0.0)  # no better than the average
    terms = router_losses(g, g.mean(0), errors, RouterLossWeights(1.0, 0.5, 2.0))
    assert terms["loss"].item() == pytest.approx(-math.log(2) + 2.0 * -2.5 / 5.5)


def test_quality_teaches_the_router_and_not_the_codebooks():
    logits = torch.tensor([[0.2, -0.4]], requires_grad=True)
    errors = torch.tensor([[1.0, 3.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(quality_loss(logits.softmax(1), errors), logits)
    (expected,) = torch.autograd.grad((logits.softmax(1) * errors.detach()).sum(), logits)
    torch.testing.assert_close(gradient, expected)  # that of the expected error, since the rows of g sum to 1
    quality_loss(logits.softmax(1), errors).backward()
    assert errors.grad is None


def test_published_router_is_as_light_as_the_paper_leaves_room_for():
    router = Router(M=256, T=128, d=12, rank=19)
    mib = 4 * sum(p.numel() for p in router.parameters()) / 2**20
    assert mib == pytest.approx(0.03, abs=0.001)
    assert router(torch.randn(2, 128, 12)).shape == (2, 256)


def test_groups_start_from_the_tokenizers_entries_or_from_centres():
    torch.manual_seed(0)
    published = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]])
    z_e = published[torch.randint(0, 2, (30, 2))] + 0.1 * torch.randn(30, 2, 2)  # two clumps
    assert torch.equal(token_shared(published, z_e, K=4, M=1, metric="euclidean", jitter=0.1, seed=0)[0, 0], published)
    centres = token_shared(published, z_e, K=2, M=1, metric="euclidean", jitter=0.0, seed=0)[0, 0]
    assert (torch.cdist(centres, published[:2]).min(0).values < 0.1).all()
    groups = token_shared(published, z_e, K=4, M=3, metric="euclidean", jitter=0.01, seed=0)
    assert groups.shape == (3, 1, 4, 2)
    assert 0 < (groups - published).abs().max() < 1
    assert not torch.equal(groups[0], groups[1])
    specific = token_specific(groups, T=5)
    assert specific.shape == (3, 5, 4, 2)
    assert torch.equal(specific[:, 3], groups[:, 0])
    with pytest.raises(ValueError, match="K = 5 is more than the tokenizer's 4 entries"):
        token_shared(published, z_e, K=5, M=1, metric="euclidean", jitter=0.0, seed=0)


def test_a_grown_book_keeps_its_entries_and_adds_badly_served_latents():
    book = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    far = torch.tensor([[5.0, 0.0], [0.0, 7.0]])
    z_e = torch.cat([book.repeat(50, 1), far])[None]
    grown = grow(book, z_e, 4, "euclidean", seed=3)
    assert torch.equal(grown[:2], book)
    assert torch.equal(grown[2:].sort(0).values, far.sort(0).values)  # latents that the book holds are never drawn
    assert grow(book, z_e, 2, "euclidean", seed=3) is book
    with pytest.raises(ValueError, match="cannot give 3 new entries"):
        grow(book, z_e, 5, "euclidean", seed=3)


def test_global_start_refuses_too_few_latents():
    with pytest.raises(ValueError, match="6 latents cannot start a codebook of K = 7"):
        global_from_latents(torch.randn(2, 3, 4), 7, "euclidean", 0)
