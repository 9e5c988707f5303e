"""The search against a plain float64 reference, over sizes, metrics and ties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stscq.quantization import search
from stscq.quantization.search import distances, search_cr, search_group, search_nn

METRICS = ["cosine", "euclidean", "inner"]


def problem(seed, B, M, T, S, K, d):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, d, generator=random), torch.randn(M, S, K, d, generator=random)


def reference(z, books, metric):
    """Every distance written out in float64: B x M x T x K."""
    z, books = z.double(), books.double()
    if metric == "cosine":
        z, books = z / z.norm(dim=-1, keepdim=True), books / books.norm(dim=-1, keepdim=True)
    z, books = z[:, None, :, None], books.expand(-1, z.shape[1], -1, -1)[None]
    return -(z * books).sum(-1) if metric == "inner" else ((z - books) ** 2).sum(-1)


sizes = st.tuples(*[st.integers(1, n) for n in (5, 4, 6, 9, 5)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), sizes, st.booleans(), st.sampled_from(METRICS))
def test_nn_agrees_with_float64(seed, sizes, shared, metric):
    B, M, T, K, d = sizes
    z, books = problem(seed, B, M, T, 1 if shared else T, K, d)
    every = reference(z, books, metric)
    group, index = search_nn(z, books, metric)
    least = every.min(-1).values.sum(-1)
    images = torch.arange(B)
    assert torch.allclose(least[images, group], least.min(-1).values, atol=1e-4)
    chosen = every[images, group].gather(-1, index[..., None]).squeeze(-1)
    assert torch.allclose(chosen, every[images, group].min(-1).values, atol=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_slices_do_not_change_the_result(metric, monkeypatch):
    z, books = problem(3, 7, 3, 11, 11, 8, 4)
    whole = search_nn(z, books, metric)
    monkeypatch.setattr(search, "BUDGET", 16)  # two rows of one codebook at a time
    sliced = search_nn(z, books, metric)
    assert torch.equal(whole.group, sliced.group)
    assert torch.equal(whole.index, sliced.index)


def test_never_holds_scores_of_more_than_the_budget(monkeypatch):
    monkeypatch.setattr(search, "BUDGET", 64)
    seen = []
    plain = search.distances
    monkeypatch.setattr(search, "distances", lambda *a: seen.append(plain(*a).numel()) or plain(*a))
    z, books = problem(1, 9, 4, 6, 6, 16, 3)
    search_nn(z, books, "euclidean")
    assert max(seen) <= 64 < 9 * 4 * 6 * 16


def test_ties_take_the_first_group_and_entry():
    z = torch.tensor([[[1.0, 0.0]]])
    twice = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    group, index = search_nn(z, torch.stack([twice, twice])[:, None], "euclidean")
    assert (int(group), int(index)) == (0, 1)


@pytest.mark.parametrize("metric", METRICS)
def test_cr_searches_only_the_given_group(metric):
    z, books = problem(5, 6, 4, 3, 3, 8, 5)
    group = torch.tensor([3, 0, 0, 2, 3, 1])
    found = search_cr(z, books, group, metric)
    for b in range(6):
        alone, _ = search_group(z[b : b + 1], books[group[b]], metric)
        assert torch.equal(found.index[b], alone[0])


def test_worked_example():
    # z = (3, 4): squared distances to (3, 0), (0, 4), (1, 1) are 16, 9, 13; inner products 9, 16, 7;
    # cosines 0.6, 0.8, 7 / (5 sqrt 2) = 0.99.
    z, entries = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
    assert distances(z, entries, "euclidean").tolist() == [[16.0, 9.0, 13.0]]
    assert distances(z, entries, "inner").tolist() == [[-9.0, -16.0, -7.0]]
    assert distances(z, entries, "cosine").argmin() == 2
