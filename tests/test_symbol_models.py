"""Models of the symbols: proper probabilities, nothing from the future, and code lengths worked by hand."""

import json

import numpy as np
import pandas as pd
import pytest

from stscq.codec.bitstream.symbol_tables import count, shrink
from stscq.evaluation import original, symbol_models
from stscq.evaluation.symbol_distributions import (
    MODELS,
    Strengths,
    Symbols,
    bits,
    context_of,
    distributions,
    empirical_bits,
    fit_neighbours,
    mixture_weights,
    probabilities,
    tables,
)
from stscq.evaluation.symbols_frame import symbols_frame, symbols_means, symbols_saved
from tests.test_int8 import routed  # noqa: F401  the fixture

M, T, K, D = 3, 9, 4, 2
STRENGTHS = Strengths(0.5, 8.0, 2.0, 4.0)


@pytest.fixture
def books():
    return np.random.default_rng(0).normal(size=(M, T, K, D))


def sample(books, N, seed):
    """Symbols of which each has much to do with the one before: the entry nearest to the last one, mostly."""
    random = np.random.default_rng(seed)
    group = random.integers(M, size=N)
    index = np.zeros((N, T), int)
    z = np.zeros((N, T, D))
    for n in range(N):
        last = random.normal(size=D)
        for t in range(T):
            near = ((books[group[n], t] - last - 0.1 * random.normal(size=D)) ** 2).sum(-1).argmin()
            index[n, t] = near
            last = z[n, t] = books[group[n], t, near]
    return Symbols(group, index, z)


def fitted(books, context):
    training = sample(books, 300, 1)
    return tables(training, M, K, STRENGTHS), fit_neighbours(training.z, context, 0.1, 1.0)


@pytest.mark.parametrize("side", [None, 3])
def test_probabilities_sum_to_one(books, side):
    """So an arithmetic coder can use them (Kraft), and none is 0: every symbol can be written."""
    found, neighbours = fitted(books, context_of(T, side))
    for one in distributions(sample(books, 20, 2), books, found, neighbours):
        assert set(one) == set(MODELS)
        for distribution in one.values():
            assert distribution.shape == (20, K)
            assert distribution.sum(1) == pytest.approx(1)
            assert distribution.min() > 0
    assert found.group_choice.sum() == pytest.approx(1)
    far = neighbours._replace(sharpness=1e9)
    last = list(distributions(sample(books, 20, 2), books, found, far))[-1]["neighbours"]
    assert last.min() > 0
    assert last.sum(1) == pytest.approx(1)


def test_nothing_comes_from_the_future(books):
    """Two images alike up to token 4 have the same distributions up to and including token 5."""
    found, neighbours = fitted(books, context_of(T, None))
    one = sample(books, 1, 3)
    index, z = one.index.copy(), one.z.copy()
    index[:, 5:], z[:, 5:] = (index[:, 5:] + 1) % K, -z[:, 5:]
    pairs = zip(
        distributions(one, books, found, neighbours),
        distributions(Symbols(one.group, index, z), books, found, neighbours),
        strict=True,
    )
    same = [np.array_equal(a["neighbours"], b["neighbours"]) for a, b in pairs]
    assert all(same[:6])
    assert not all(same)


def test_context_on_a_grid():
    """Raster order, so what lies above and to the left is known."""
    context = context_of(9, 3)
    assert context[0] == []
    assert context[4] == [3, 0, 1, 2]
    assert context[5] == [4, 1, 2]  # nothing above right of the last column
    assert all(before < token for token in range(9) for before in context[token])
    assert context_of(3, None) == [[], [0], [0, 1]]


def test_counts_and_lengths_worked_by_hand():
    """M = 1, T = 2, K = 2, four images: token 0 is 0, 0, 0, 1 and token 1 is 1, 1, 1, 1."""
    symbols = Symbols(np.zeros(4, int), np.array([[0, 1], [0, 1], [0, 1], [1, 1]]), np.zeros((4, 2, 1)))
    assert count(symbols.group, symbols.index, 1, 2).tokens.tolist() == [[[3, 1], [0, 4]]]
    assert shrink(np.array([3, 1]), np.array([0.5, 0.5]), 4).tolist() == [5 / 8, 3 / 8]
    found = tables(symbols, 1, 2, Strengths(2, 1, 1, 1))
    assert found.pooled.tolist() == [0.4, 0.6]  # (3 + 1) / 10, (5 + 1) / 10
    assert found.position[0] == pytest.approx([3.4 / 5, 1.6 / 5])
    assert found.position[1] == pytest.approx([0.4 / 5, 4.6 / 5])
    length = -np.log2(3.4 / 5) - np.log2(4.6 / 5)
    place = MODELS.index("position")
    neighbours = fit_neighbours(symbols.z, context_of(2, None), 1.0, 0.0)
    probability = probabilities(symbols, np.zeros((1, 2, 2, 1)), found, neighbours)
    assert bits(probability)[place][0] == pytest.approx(length)
    assert bits(probability)[MODELS.index("fixed")].tolist() == [2, 2, 2, 2]
    assert empirical_bits(symbols, 1, 2) == pytest.approx(-0.75 * np.log2(0.75) - 0.25 * np.log2(0.25))


def test_ridge_is_the_same_from_either_side():
    """More features than images, or fewer: one formula has two ways to be solved."""
    z = np.random.default_rng(0).normal(size=(12, 6, 3))
    found = fit_neighbours(z, [[], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]], 0.5, 1.0)
    centred = z - z.mean(0)
    for token in (2, 5):  # 6 and 15 features of 12 images
        features = centred[:, :token].reshape(12, -1)
        penalty = 0.5 * 12 * (features**2).mean()
        expected = np.linalg.solve(features.T @ features + penalty * np.eye(3 * token), features.T @ centred[:, token])
        assert found.weight[token] == pytest.approx(expected)


def test_neighbours_help_where_there_is_something_to_know(books):
    found, neighbours = fitted(books, context_of(T, None))
    length = dict(
        zip(MODELS, bits(probabilities(sample(books, 200, 5), books, found, neighbours)).mean(1), strict=True)
    )
    assert length["neighbours"] < 0.9 * length["group_position"]
    assert length["group_position"] < length["fixed"] == 2 * T


def test_the_mixture_finds_the_best_model(books):
    found, neighbours = fitted(books, context_of(T, None))
    probability = probabilities(sample(books, 200, 5), books, found, neighbours)
    weights = mixture_weights(probability)
    assert weights.sum() == pytest.approx(1)
    mixed = bits(np.tensordot(weights, probability, 1)).mean()
    assert mixed <= bits(probability).mean(1).min() + 1e-6


@pytest.mark.slow
def test_measured_on_test_people(routed, faces, split, tmp_path):  # noqa: F811
    original.main(faces, split / "pairs.parquet", faces, split / "index.parquet", tmp_path / "o", "dlib", own=True)
    out = tmp_path / "x" / "v" / "test" / "seed1"
    symbol_models.main(routed, faces, split / "index.parquet", tmp_path / "o", out)
    found = json.loads((out / "metrics.json").read_text())
    assert found["models"]["fixed"]["bits"] == found["fixed_bits"] == 64 * 3 + 2
    images = pd.read_parquet(out / "images.parquet")
    assert images.groupby("model").bits.mean()["mixture"] == pytest.approx(found["models"]["mixture"]["bits"])
    tested = set(np.unique(pd.read_parquet(split / "pairs.parquet")[["a", "b"]]))
    assert set(images.row) == tested
    table = symbols_means(symbols_frame(tmp_path, [("x", "v")], ["test"], [1])).iloc[0]
    assert table.mixture_percent == pytest.approx(found["models"]["mixture"]["percent"])
    saved = symbols_saved(tmp_path, ("x", "v"), ["test"], [1], "mixture", "fixed").iloc[0]
    assert saved.difference == pytest.approx(found["models"]["mixture"]["saved"])
    assert saved.low <= saved.difference <= saved.high
