"""Codebooks of unequal size: search and bytes. tests/test_allocation.py has how large they are."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stscq.bits import payload_bits
from stscq.codec.bitstream import payload
from stscq.codec.bitstream.context import Context, ImageTables, no_context
from stscq.codec.bitstream.entropy import SymbolDecoder, read_tokens
from stscq.codec.bitstream.packing import pack, unpack
from stscq.codec.bitstream.symbol_tables import TOTAL, fit, uniform
from stscq.errors import StscqError
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.index_propagation import entry_entropy_loss
from stscq.quantization.revival import Revival
from stscq.quantization.search import (
    Assignment,
    UnequalCodebooks,
    group_errors,
    measured_cr,
    measured_nn,
    search_cr,
    search_nn,
)
from stscq.quantization.search.reference import exact_distance
from tests.codec.conftest import pictures  # noqa: F401
from tests.search_problems import METRICS, assert_same, trained

SIZES = [1, 8, 2, 8, 4, 16, 16, 2, 1]


def by_hand(z_e, weight, entries, metric):
    """NN as defined: the assignment, and the mean distances (B x M), in float64 and token by token.

    For inner products groups are compared by the squared distances of the chosen entries.
    """
    least, index = zip(
        *(exact_distance(z_e[:, None, j, None], weight[None, :, j, :K], metric).min(-1) for j, K in enumerate(entries)),
        strict=True,
    )  # T of B x M
    if metric == "inner":
        squares = [
            exact_distance(z_e[:, None, j, None], weight[None, :, j, :K], "euclidean") for j, K in enumerate(entries)
        ]
        least = [s.gather(-1, i[..., None])[..., 0] for s, i in zip(squares, index, strict=True)]
    errors = torch.stack(least).mean(0)
    group = errors.argmin(1)
    return Assignment(group, torch.stack(index, -1)[torch.arange(len(group)), group]), errors


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("M", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_search_is_the_definition_in_float64(metric, M, seed):
    z_e, weight = trained(seed, 40, M, len(SIZES), 16, 6, metric)
    unequal = UnequalCodebooks(weight, metric, SIZES)
    wanted, errors = by_hand(z_e, weight, SIZES, metric)
    measured = measured_nn(z_e, unequal, metric)
    assert_same(measured.assignment, wanted)
    assert_same(search_nn(z_e, unequal, metric), wanted)
    assert torch.allclose(group_errors(z_e, unequal, metric), errors.float(), atol=1e-5)
    if M > 1:
        assert torch.allclose(measured.errors, errors.float(), atol=1e-5)
    assert_same(search_cr(z_e, unequal, wanted.group, metric), wanted)
    assert (measured.assignment.index < torch.tensor(SIZES)).all()


def test_groups_that_float32_confuses_are_told_apart():
    """Two groups that are copies but for one entry of one token, 1e-9 nearer in the second."""
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(1, len(SIZES), 16, 4, generator=random).repeat(2, 1, 1, 1)
    z_e = weight[:1, :, 0] + 0.1
    weight[1, 3, 0] += torch.tensor([1e-7, 0, 0, 0])
    unequal = UnequalCodebooks(weight, "euclidean", SIZES)
    wanted, errors = by_hand(z_e, weight, SIZES, "euclidean")
    assert errors[0, 0] != errors[0, 1]
    assert_same(search_nn(z_e, unequal, "euclidean"), wanted)


def test_gaps_are_infinite_where_there_is_one_entry_and_reach_is_that_of_entries():
    z_e, weight = trained(0, 7, 1, len(SIZES), 16, 6, "euclidean")
    weight[0, 0, 1:] = 100  # padding: no entries
    unequal = UnequalCodebooks(weight, "euclidean", SIZES)
    measured = measured_cr(z_e, unequal, torch.zeros(7, dtype=torch.int64), "euclidean")
    assert measured.gaps[:, [0, 8]].isinf().all()
    assert measured.gaps[:, 1].isfinite().all()
    longest = torch.stack([weight[0, j, :K].norm(dim=-1).max() for j, K in enumerate(SIZES)])
    assert torch.allclose(unequal.reach[0], longest)


@pytest.mark.parametrize("entries", [[1, 2], [0, 1, 1], [1, 1, 32]])
def test_wrong_numbers_of_entries_are_refused(entries):
    with pytest.raises(ValueError, match="a number from 1 to 16 for each of 3 tokens"):
        UnequalCodebooks(torch.zeros(1, 3, 16, 2), "euclidean", entries)


def padded_entropy(z_e, weight, behind):
    """`entry_entropy_loss` with all tokens as wide as the largest, and no share for what is behind their entries."""
    rows = (torch.einsum("btd,tkd->btk", z_e, weight[0]).masked_fill(behind, -1e6) / 0.01).flatten(0, 1)
    soft, mean = rows.softmax(1), rows.softmax(1).mean(0)
    return (mean * (mean + 1e-5).log()).sum() - (soft * rows.log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize("metric", METRICS)
def test_training_reaches_entries_and_never_what_is_behind_them(metric):
    z_e, weight = trained(3, 20, 1, len(SIZES), 16, 6, metric)
    codebooks = Codebooks(weight, metric, entries=SIZES)
    quantised = codebooks(z_e.requires_grad_(True))
    quantised.z_q.square().sum().backward(retain_graph=True)
    behind = torch.arange(16) >= torch.tensor(SIZES)[:, None]
    assert (codebooks.weight.grad[:, behind] == 0).all()
    assert codebooks.weight.grad.abs().sum() > 0
    if quantised.propagation is not None:
        logits = quantised.propagation.logits
        assert sorted(part.shape[1] for part in logits) == sorted(set(SIZES))  # none wider than its tokens' codebooks
        assert sum(len(part) for part in logits) == 20 * len(SIZES)
        entropy = entry_entropy_loss(logits)
        (gradient,) = torch.autograd.grad(entropy, codebooks.weight)
        wanted = padded_entropy(z_e, codebooks.weight, behind)
        (padded,) = torch.autograd.grad(wanted, codebooks.weight)
        torch.testing.assert_close(entropy, wanted)
        torch.testing.assert_close(gradient, padded)
        assert (gradient[:, behind] == 0).all()
        assert gradient.abs().sum() > 0
    before = codebooks.weight.detach().clone()
    revival = Revival(codebooks, len(SIZES))
    for _ in range(20):
        revival.record(quantised.assignment, z_e.detach() + torch.rand(()))
    assert revival.revive(codebooks, torch.Generator().manual_seed(0)) > 0
    assert torch.equal(codebooks.weight[:, behind], before[:, behind])


sizes = st.lists(st.integers(0, 6).map(lambda bits: 2**bits), min_size=1, max_size=20)


@given(st.data(), sizes, st.integers(0, 5))
def test_fixed_length_comes_back(data, K, log_M):
    M = 2**log_M
    group = data.draw(st.integers(0, M - 1))
    index = np.array([data.draw(st.integers(0, size - 1)) for size in K])
    written = pack(group, index, K, M)
    assert len(written) == -(-(sum(size.bit_length() - 1 for size in K) + log_M) // 8)
    back = unpack(written, len(K), K, M)
    assert back[0] == group
    assert (back[1] == index).all()


def test_one_size_for_all_is_packed_as_ever():
    index = np.array([5, 0, 7])
    assert pack(2, index, [8, 8, 8], 4) == pack(2, index, 8, 4) == bytes([0xA8, 0xE0])
    assert payload_bits(3, [8, 1, 2], 4) == 3 + 0 + 1 + 2
    with pytest.raises(StscqError, match="K = 3 is no power of two"):
        payload_bits(2, [2, 3], 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), sizes)
def test_coded_payloads_come_back(seed, K):
    """Tables fitted on skewed symbols; the decoder sees tables without padding, the encoder with it."""
    random = np.random.default_rng(seed)
    N, T, M = 60, len(K), 2
    group = random.integers(M, size=N)
    index = (random.random((N, T)) ** 3 * K).astype(np.int64)
    tables = fit(group, index, np.arange(N) // 4, M, max(K), K).tables
    has = np.arange(max(K)) < np.array(K)[:, None]
    assert (tables.tokens.sum(-1) == TOTAL).all()
    assert (tables.tokens[:, has] >= 1).all()
    assert (tables.tokens[:, ~has] == 0).all()
    images = {g: ImageTables(no_context(T), tables.tokens[g], np.zeros((T, max(K), 0), np.int8)) for g in range(M)}
    alphabet = payload.Alphabet(
        T, K, M, tables.group, lambda g: ImageTables(no_context(T), images[g].base, images[g].features)
    )
    written = [payload.write(int(g), i, alphabet) for g, i in zip(group, index, strict=True)]
    assert max(map(len, written)) <= alphabet.fixed_bytes
    groups, indices = payload.read_all(written, alphabet)
    assert (groups == group).all()
    assert (indices == index).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), sizes)
def test_the_context_tilts_towards_entries_alone(seed, K):
    """Tables that follow the tokens before: none has a share behind its last entry, and payloads come back."""
    random = np.random.default_rng(seed)
    T, f, r = len(K), 3, 4
    has = np.arange(max(K)) < np.array(K)[:, None]
    base = uniform(1, T, max(K), K).tokens[0]
    read, write = random.integers(-3000, 3000, (T, f, r)), random.integers(-300, 300, (T, r, f))
    context = Context(read.astype(float), write.astype(float), 8)
    features = random.integers(-127, 128, (T, max(K), f)).astype(np.int8)  # behind the last entry too
    index = (random.random(T) * K).astype(np.int64)
    tables = ImageTables(context, base, features).tables(index)
    assert (tables.sum(1) == TOTAL).all()
    assert (tables[~has] == 0).all()
    assert (tables[has] >= 1).all()
    alphabet = payload.Alphabet(T, K, 1, np.array([TOTAL]), lambda group: ImageTables(context, base, features))
    written = [payload.coded(0, index, alphabet), payload.write(0, index, alphabet)]
    assert (payload.read(written[1], alphabet)[1] == index).all()
    decoder = SymbolDecoder(written[0])
    assert (read_tokens([decoder], ImageTables(context, base, features), T)[0] == index).all()


def test_tables_of_equal_sizes_do_not_depend_on_how_they_are_said():
    random = np.random.default_rng(0)
    group, index = random.integers(2, size=80), random.integers(8, size=(80, 5))
    said, unsaid = (fit(group, index, np.arange(80) // 5, 2, 8, K).tables for K in ([8] * 5, None))
    assert all((a == b).all() for a, b in zip(said, unsaid, strict=True))
    assert (uniform(1, 2, 4, [1, 4]).tokens == [[[TOTAL, 0, 0, 0], [TOTAL // 4] * 4]]).all()
