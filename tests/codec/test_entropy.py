"""Tables and range coder: integers, exact, and as short as the arithmetic allows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stscq.codec.bitstream import entropy, payload
from stscq.codec.bitstream.symbol_tables import TOTAL, count, fit, integers, uniform
from stscq.errors import BitstreamError
from tests.codec.conftest import fixed_tables


def reference(symbols, tables):
    """The arithmetic of docs/bitstream.md in Python's integers: the shortest bytes inside the last interval."""
    low, width, bits = 0, 2**64 - 1, 64
    for symbol, table in zip(symbols, tables, strict=True):
        table = [int(n) * 256 for n in table]
        unit = width >> 24
        low, width = low + unit * sum(table[:symbol]), unit * table[symbol]
        if width < 2**32:
            low, width, bits = low << 32, width << 32, bits + 32
    for size in range(bits // 8 + 1):
        value = -((-low) // 2 ** (bits - 8 * size))
        if value * 2 ** (bits - 8 * size) < low + width:
            return value.to_bytes(size, "big")
    raise AssertionError


@st.composite
def problems(draw):
    M, T, K = 2 ** draw(st.integers(0, 4)), draw(st.integers(1, 24)), 2 ** draw(st.integers(0, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sharp = draw(st.sampled_from([0.01, 0.1, 1.0, 10.0]))
    tables = integers(random.dirichlet(np.full(K, sharp), (M, T)))
    group_table = integers(random.dirichlet(np.full(M, sharp)))
    likely = draw(st.booleans())
    group = int(group_table.argmax()) if likely else int(random.integers(M))
    index = tables[group].argmax(-1) if likely else random.integers(0, K, T)
    return group, index, group_table, tables


@settings(max_examples=200, deadline=None)
@given(problems())
def test_coder_is_the_documented_arithmetic(problem):
    group, index, group_table, tables = problem
    found = entropy.encode(group, index, group_table, tables[group])
    symbols, rows = index.tolist(), list(tables[group])
    if len(group_table) > 1:
        symbols, rows = [group, *symbols], [group_table, *rows]
    if tables.shape[2] == 1:
        symbols, rows = symbols[: len(symbols) - len(index)], rows[: len(rows) - len(index)]
    assert found == reference(symbols, rows)
    bits = -sum(np.log2(int(table[s]) / TOTAL) for s, table in zip(symbols, rows, strict=True))
    assert 8 * len(found) <= bits + 8.01


@settings(max_examples=200, deadline=None)
@given(problems())
def test_payloads_come_back_and_are_never_longer_than_fixed_length(problem):
    group, index, group_table, tables = problem
    M, T, K = tables.shape
    alphabet = payload.Alphabet(T, K, M, group_table, lambda g: fixed_tables(tables[g]))
    written = payload.write(group, index, alphabet)
    assert len(written) <= alphabet.fixed_bytes
    back = payload.read(written, alphabet)
    assert back[0] == group
    assert (back[1] == index).all()


@settings(max_examples=300, deadline=None)
@given(problems(), st.binary(max_size=40))
def test_bytes_that_no_image_has_are_refused(problem, content):
    """Whatever is read is written as the very same bytes."""
    _, _, group_table, tables = problem
    M, T, K = tables.shape
    alphabet = payload.Alphabet(T, K, M, group_table, lambda g: fixed_tables(tables[g]))
    try:
        group, index = payload.read(content, alphabet)
    except BitstreamError:
        return
    assert payload.write(group, index, alphabet) == content


def test_worked_example_of_the_document():
    # Two tokens of two entries, shares 3/4 and 1/4; symbols 0, 1. width 2^64 - 1, unit 2^40 - 1 (less than 2^40).
    table = np.array([[49152, 16384]] * 2)
    assert entropy.encode(0, np.array([0, 0]), np.array([TOTAL]), table) == b""
    assert entropy.encode(0, np.array([1, 1]), np.array([TOTAL]), table) == bytes([0xF0])


def test_tables_are_integers_that_sum_to_the_total():
    # 65536 - 3 = 65533 to share: 0.5, 0.3, 0.2 of it are 32766.5, 19659.9, 13106.6; two are left over, for .9 and .6.
    assert integers(np.array([0.5, 0.3, 0.2])).tolist() == [32767, 19661, 13108]
    assert integers(np.array([1.0])).tolist() == [TOTAL]
    shares = np.random.default_rng(1).dirichlet(np.full(64, 0.01), 100)
    assert (integers(shares).sum(-1) == TOTAL).all()
    assert integers(shares).min() >= 1
    assert (uniform(4, 3, 8).tokens == TOTAL // 8).all()


def test_counting():
    counts = count(np.array([1, 1, 0]), np.array([[0, 2], [0, 1], [1, 1]]), M=2, K=3)
    assert counts.group.tolist() == [1, 2]
    assert counts.tokens[1].tolist() == [[2, 0, 0], [0, 1, 1]]
    assert counts.tokens[0].tolist() == [[0, 1, 0], [0, 1, 0]]


def test_statistics_pay_off_on_unseen_people_and_never_cost():
    random = np.random.default_rng(3)
    person = np.repeat(np.arange(40), 10)
    skewed = random.choice(8, p=[0.6, 0.2, 0.1, 0.05, 0.02, 0.01, 0.01, 0.01], size=(400, 16))
    group = random.integers(0, 4, 400)
    found = fit(group, skewed, person, 4, 8)
    entropy_bits = 2 - 16 * sum(p * np.log2(p) for p in (0.6, 0.2, 0.1, 0.05, 0.02, 0.01, 0.01, 0.01))
    assert found.held_out_bits == pytest.approx(entropy_bits, rel=0.03)
    assert found.strengths["group_token"] > 100  # groups do not differ here

    # Nothing to learn: every person has symbols of their own. Held out, that must not look like a gain.
    own = random.integers(0, 8, (40, 16))[person]
    assert fit(random.integers(0, 4, 400), own, person, 4, 8).held_out_bits > 0.97 * 50

    # Groups that differ are told apart.
    apart = fit(group, (group[:, None] + np.zeros((1, 16), int)) % 8, person, 4, 8)
    assert apart.held_out_bits < 10
    assert fit(np.zeros(5, int), np.zeros((5, 3), int), np.zeros(5), 1, 4).held_out_bits < 6.1  # one person
