"""Parts of a call on torch's threads, or on others: each item once, nothing raised is lost."""

from threading import Barrier
from time import sleep

import pytest
import torch

from stscq.quantization.search import threads


@pytest.fixture(params=["openmp", "python"], autouse=True)
def way(request, monkeypatch):
    if request.param == "python":
        monkeypatch.setattr(threads, "openmp", lambda: None)
    elif threads.openmp() is None:
        pytest.skip("torch has no OpenMP of GNU here")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)


@pytest.mark.parametrize("items", [1, 2, 3, 50, 1000])
@pytest.mark.parametrize("grains", [0, 1, 2, 100])
def test_each_item_is_done_once(items, grains):
    done = []
    threads.in_threads(lambda first, last: done.extend(range(first, last)), items, grains * threads.GRAIN)
    assert sorted(done) == list(range(items))


def test_after_a_problem_no_more_is_begun():
    began = []

    def call(first, last):
        began.append(first)
        if first == 0:
            raise ValueError("here")
        sleep(0.01)

    with pytest.raises(ValueError, match="here"):
        threads.in_threads(call, 1000, 100 * threads.GRAIN)
    assert len(began) < threads.PARTS


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", [0, 999])
def test_what_a_call_raises_arrives(problem, where):
    def call(first, last):
        if first <= where < last:
            raise problem("here")

    with pytest.raises(problem, match="here"):
        threads.in_threads(call, 1000, 100 * threads.GRAIN)


def test_a_part_that_was_lost_is_noticed(monkeypatch):
    """As when an interrupt comes before a thread's first step: ctypes drops it."""
    monkeypatch.setattr(threads, "side_by_side", lambda task, n: None)
    with pytest.raises(KeyboardInterrupt):
        threads.in_threads(lambda first, last: None, 1000, 100 * threads.GRAIN)


def test_parts_run_at_the_same_time():
    """Three parts that wait for each other."""
    together = Barrier(3, timeout=60)
    waited = []

    threads.in_threads(lambda first, last: waited.append(together.wait()), 3, 3 * threads.GRAIN)
    assert sorted(waited) == [0, 1, 2]
