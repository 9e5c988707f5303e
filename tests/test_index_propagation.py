"""IBQ against the mathematics of the public quantiser, written out here for one codebook; and groups by their error."""

import pytest
import torch

from stscq.quantization.codebooks import Codebooks
from stscq.quantization.index_propagation import BETA, EPS, TEMPERATURE, entry_entropy_loss, index_propagation_loss
from stscq.quantization.losses import RouterLossWeights
from stscq.quantization.search import group_errors, search_cr, search_nn
from stscq.quantization.search.reference import exact_distance

ENTROPY = 0.05  # both weights as in the authors' configuration of 8192 entries


def public_loss(z, book):
    """z: N x d, book: K x d. The loss of the public quantiser, and the vectors that its decoder gets."""
    logits = torch.einsum("nd,kd->nk", z, book)
    soft = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    hard = torch.zeros_like(soft).scatter(1, soft.argmax(1, keepdim=True), 1.0)
    z_q, entry = (hard - soft.detach() + soft) @ book, hard @ book
    loss = ((z_q - z) ** 2).mean() + ((entry.detach() - z) ** 2).mean() + 0.25 * ((entry - z.detach()) ** 2).mean()
    sharp = (logits / 0.01).softmax(1)
    log_sharp = (logits / 0.01 + 1e-5).log_softmax(1)
    mean = sharp.mean(0)
    entropy = -(sharp * log_sharp).sum(1).mean() + (mean * torch.log(mean + 1e-5)).sum()
    return loss + ENTROPY * entropy, z_q


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradient_are_those_of_the_public_quantiser(dtype):
    random = torch.Generator().manual_seed(0)
    z = (0.3 * torch.randn(6, 5, 8, generator=random)).to(dtype).requires_grad_()
    books = Codebooks((0.3 * torch.randn(1, 1, 16, 8, generator=random)).to(dtype), "inner")
    weigh = torch.randn(6, 5, 8, generator=random).to(dtype)  # what a decoder sends back
    wanted, z_q = public_loss(z.flatten(0, 1), books.weight[0, 0])
    gradients = torch.autograd.grad(wanted + (z_q * weigh.flatten(0, 1)).sum(), (z, books.weight))
    found = books(z)
    assert found.propagation is not None
    logits, entries = found.propagation
    loss = index_propagation_loss(found.z, found.z_q, entries) + ENTROPY * entry_entropy_loss(logits)
    assert (loss - wanted).abs() < 1e-6
    assert (found.z_q.flatten(0, 1) - z_q).abs().max() < 1e-6
    ours = torch.autograd.grad(loss + (found.z_q * weigh).sum(), (z, books.weight))
    for one, other in zip(ours, gradients, strict=True):
        assert other.abs().max() > 0.01
        assert (one - other).abs().max() < 1e-6
    assert (BETA, TEMPERATURE, EPS) == (0.25, 0.01, 1e-5)


def test_a_group_is_chosen_by_its_squared_error():
    """Groups of longer entries have the larger inner products, and the larger errors."""
    random = torch.Generator().manual_seed(1)
    z = torch.randn(40, 6, 8, generator=random)
    near = z[:16].transpose(0, 1)  # T x K x d
    weight = torch.stack([near, 1.5 * near + 0.1 * torch.randn(6, 16, 8, generator=random), 3 * near])
    found = search_nn(z, weight, "inner")
    chosen = [search_cr(z, weight, torch.full((40,), g), "inner").index for g in range(3)]
    entries = torch.stack([weight[g, torch.arange(6), index] for g, index in enumerate(chosen)], 1)  # B x M x T x d
    squares = exact_distance(z[:, None], entries, "euclidean")
    assert torch.equal(found.group, squares.sum(2).argmin(1))
    assert (found.group == 0).float().mean() > 0.9
    products = torch.einsum("BTd,MTKd->BMTK", z, weight).amax(3).sum(2)
    assert (products.argmax(1) == 2).all()  # the longest entries: what used to be chosen
    torch.testing.assert_close(group_errors(z, weight, "inner"), squares.mean(2).float())


def test_the_losses_of_stages_1_and_2_are_the_public_ones():
    from types import SimpleNamespace

    from stscq.quantization.mean_use import MeanUse
    from stscq.quantization.trained_codec import TrainedCodec
    from stscq.training.codebook_training import CodebookLossWeights, codebook_training_loss

    z = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(2))
    books = Codebooks(0.3 * torch.randn(1, 1, 16, 8, generator=torch.Generator().manual_seed(3)), "inner", sparse=True)
    codec = TrainedCodec(SimpleNamespace(metric="inner"), books, None)
    weights = CodebookLossWeights(1.0, ENTROPY, RouterLossWeights(1.0, 0.1, 1.0))
    terms, _ = codebook_training_loss(codec, z, MeanUse(1, 6), weights)
    wanted, _ = public_loss(z.flatten(0, 1), books.weight[0, 0])
    torch.testing.assert_close(terms["loss"], wanted, atol=1e-6, rtol=1e-6)
    (gradient,) = torch.autograd.grad(wanted, books.weight)
    terms["loss"].backward()
    assert (books.weight.grad.to_dense() - gradient).abs().max() < 1e-6
