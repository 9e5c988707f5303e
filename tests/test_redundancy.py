"""Redundancy of codebook groups: numbers known in advance, and planted copies."""

import json

import numpy as np
import pytest
import torch

from stscq.codec.bundle.read import Bundle
from stscq.evaluation import redundancy
from stscq.report.table import MAKERS
from tests.codec.conftest import bundles, pictures  # noqa: F401
from tests.report_fixtures import make_summary


@pytest.fixture
def codebooks():
    """Four groups of three tokens with eight entries, drawn one by one."""
    return torch.randn(4, 3, 8, 5, generator=torch.Generator().manual_seed(0))


def test_copied_groups_are_flagged_in_whatever_order_their_entries_stand(codebooks):
    assert redundancy.copies(redundancy.matched_distances(codebooks)) == []
    codebooks[3] = codebooks[1][:, torch.randperm(8, generator=torch.Generator().manual_seed(1))] + 1e-3
    matched = redundancy.matched_distances(codebooks)
    assert redundancy.copies(matched) == [(1, 3)]
    assert 0 < matched[1, 3] < 0.01
    assert (matched == matched.T).all()
    assert (matched.diagonal() == 0).all()


def test_groups_drawn_alike_are_about_as_far_from_each_other_as_neighbours_inside_one(codebooks):
    matched = redundancy.matched_distances(codebooks)
    assert 0.8 < matched[np.triu_indices(4, 1)].mean() < 1.5


def test_large_codebooks_are_matched_by_few_tokens(monkeypatch):
    seen = []
    monkeypatch.setattr(redundancy, "linear_sum_assignment", lambda cost: seen.append(cost.shape) or ([0], [0]))
    for K in (64, 256, 1024):
        redundancy.matched_distances(torch.zeros(2, 40, K, 1))
    assert [seen.count((K, K)) for K in (64, 256, 1024)] == [32, 32, 4]


def test_one_entry_and_shared_codebooks_can_be_matched():
    one = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])  # M = 2, S = K = 1
    assert redundancy.matched_distances(one)[0, 1] == pytest.approx(2**0.5)


def test_effective_number():
    assert redundancy.effective_number(np.array([0.25] * 4)) == pytest.approx(4)
    assert redundancy.effective_number(np.array([1.0, 0, 0, 0])) == pytest.approx(1)
    pairs = np.kron(np.eye(2), np.ones((2, 2)))  # two pairs of copies
    assert redundancy.effective_number(np.array([0.25] * 4), pairs) == pytest.approx(2)
    assert redundancy.effective_number(np.array([0.5, 0.5, 0, 0]), pairs) == pytest.approx(1)


def test_second_best_cost():
    assert redundancy.second_best_cost(np.array([[1.0, 1.5, 9.0], [4.0, 2.0, 3.0]])) == pytest.approx(0.5)


def test_information_is_that_of_chance_where_groups_know_nothing():
    random = np.random.default_rng(0)
    person = np.repeat(np.arange(50), 6)
    knows, by_chance = redundancy.shared_information(person % 4, person, 50)
    assert knows == pytest.approx(redundancy.entropy_bits(np.bincount(np.arange(50) % 4) / 50))
    assert by_chance < 0.6 * knows
    nothing, by_chance = redundancy.shared_information(random.integers(4, size=300), person, 50)
    assert nothing == pytest.approx(by_chance, rel=0.25)
    assert redundancy.shared_information(np.array([0, 1]), np.array([5, 6]), 5) == (0, 0)


def test_of_a_bundle(bundles, pictures, tmp_path, monkeypatch):  # noqa: F811
    """The program, on 60 pictures of ten people."""
    faces = redundancy.open_image_set.__annotations__["return"](
        pictures, np.arange(60), np.arange(60) // 6, None, None, None
    )
    monkeypatch.setattr(redundancy, "open_image_set", lambda *_: faces)
    redundancy.main(tmp_path, tmp_path, bundles["switchable"], tmp_path / "out", "dlib")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    M = Bundle(bundles["switchable"]).sizes.M
    assert found["images"] == 60
    assert 1 <= found["effective_groups"] <= found["groups_used"] <= M
    assert found["distinct_groups"] <= found["effective_groups"] + 1e-9
    assert found["copies"] == 0
    assert found["second_best_cost"] > 0
    assert 0 <= found["information_bits"] <= found["group_bits"]


def test_the_table_has_means_over_seeds(tmp_path):
    frame = MAKERS["redundancy"](make_summary(tmp_path)).frame
    assert frame[["variant", "groups", "entries"]].to_numpy().tolist() == [["switchable", 4, 4]]
    assert frame.matched_distance[0] == 2  # seeds 1, 2, 3
