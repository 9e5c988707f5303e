"""Indices to bytes and back."""

from math import ceil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stscq.bits import payload_bits
from stscq.codec.bitstream.packing import pack, unpack
from stscq.errors import StscqError


def test_worked_example():
    # M = 4, K = 8: group 2 is 10, tokens 5, 0, 7 are 101, 000, 111 -> 1010 1000 111(0 0000) = a8 e0
    assert pack(2, np.array([5, 0, 7]), K=8, M=4) == bytes([0xA8, 0xE0])


def test_published_rates():
    # tables.yaml, seeds: 1536, 1284 and 1032 bits
    assert [payload_bits(128, K, M) for M, K in ((1, 4096), (16, 1024), (256, 256))] == [1536, 1284, 1032]


@given(st.data(), st.integers(0, 8), st.integers(0, 12), st.integers(1, 40))
def test_round_trip(data, log_M, log_K, T):
    M, K = 2**log_M, 2**log_K
    group = data.draw(st.integers(0, M - 1))
    index = np.array(data.draw(st.lists(st.integers(0, K - 1), min_size=T, max_size=T)))
    payload = pack(group, index, K, M)
    assert len(payload) == ceil((T * log_K + log_M) / 8)
    back = unpack(payload, T, K, M)
    assert back[0] == group
    assert (back[1] == index).all()


def test_wrong_sizes_are_refused():
    with pytest.raises(StscqError, match="K = 12 is no power of two"):
        payload_bits(4, 12, 1)
    with pytest.raises(StscqError, match="3 bytes, expected 2"):
        unpack(b"abc", T=3, K=8, M=4)
