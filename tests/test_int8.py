"""int8 codebooks: how far an entry can move, what is stored, and what both sides make of it."""

import json

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from stscq.codec import export
from stscq.evaluation import int8, original
from stscq.evaluation.int8_codebooks import from_int8, int8_mib, to_int8
from stscq.evaluation.int8_frame import int8_frame, int8_means
from stscq.quantization.search import Assignment
from stscq.training import stage1_tokenizer
from tests.trained import TOKENIZER, train_stages_1_and_2

BOOKS = arrays(
    np.float32, array_shapes(min_dims=4, max_dims=4, max_side=5), elements=st.floats(-(2.0**99), 2.0**99, width=32)
)


@given(BOOKS)
@settings(max_examples=200, deadline=None)
def test_no_entry_moves_further_than_half_a_step(weight):
    weight = torch.from_numpy(weight)
    books = to_int8(weight)
    back = from_int8(books)
    step = books.scale[:, :, None, None].double()
    largest = weight.abs().amax((2, 3)).double()
    assert books.values.dtype == torch.int8
    assert books.values.abs().max() <= 127
    assert books.scale.shape == weight.shape[:2]
    assert ((back.double() - weight.double()).abs() <= step * (0.5 + 1e-4)).all()
    ordinary = largest > 1e-30  # below, float32 itself has few digits
    assert ((books.scale.double() - largest / 127).abs() <= 1e-6 * largest)[ordinary].all()


@given(BOOKS)
@settings(max_examples=50, deadline=None)
def test_a_second_time_changes_nothing(weight):
    once = from_int8(to_int8(torch.from_numpy(weight)))
    assert torch.equal(to_int8(once).values, to_int8(torch.from_numpy(weight)).values)


def test_worked_by_hand():
    books = to_int8(torch.tensor([[[[1.27, -0.50], [0.004, 0.006]], [[0.0, 0.0], [0.0, 0.0]]]]))
    assert books.values[0, 0].tolist() == [[127, -50], [0, 1]]  # steps of 0.01
    assert books.scale[0].tolist() == pytest.approx([0.01, 1.0])
    assert from_int8(books)[0, 1].abs().max() == 0
    assert int8_mib(16, 256, 4, 16) == 16 * 256 * (64 + 4) / 2**20
    with pytest.raises(ValueError, match="not finite"):
        to_int8(torch.full((1, 1, 2, 2), torch.nan))


def test_an_entry_of_another_group_is_another_entry():
    wide = Assignment(torch.tensor([0, 1]), torch.tensor([[1, 2], [3, 4]]))
    narrow = Assignment(torch.tensor([0, 0]), torch.tensor([[1, 5], [3, 4]]))
    assert int8.agreement(wide, narrow) == (0.5, 0.25, 0.0, 3)
    assert int8.agreement(wide, wide) == (1.0, 1.0, 1.0, 0)


@pytest.fixture(scope="session")
def routed(places, tmp_path_factory):
    """The bundle of a small routed codec, hardly trained."""
    folder = tmp_path_factory.mktemp("routed")
    stage1_tokenizer.main(**places, **TOKENIZER, out=folder / "tokenizer")
    train_stages_1_and_2(places, folder / "tokenizer", folder)
    export.main(places["store"], places["split"], folder / "two", folder / "bundle")
    return folder / "bundle"


@pytest.mark.slow
def test_evaluation_beside_float32(routed, faces, split, tmp_path):
    original.main(faces, split / "pairs.parquet", faces, split / "index.parquet", tmp_path / "o", "dlib", own=True)
    out = tmp_path / "int8" / "x" / "v" / "test" / "seed1"
    int8.main(routed, faces, tmp_path / "o", "dlib", out)
    found = json.loads((out / "metrics.json").read_text())
    assert found["selection"] == "router"
    assert found["groups_equal"] == 1.0  # the router is as it was
    assert 0.5 < found["indices_equal"] <= 1
    assert found["int8_mib"] < 0.3 * found["float32_mib"]
    images = pd.read_parquet(out / "images.parquet")
    assert found["ids"] == pytest.approx(images.ids.mean())
    twin = tmp_path / "fp32" / "x" / "v" / "test" / "seed1" / "metrics.json"
    twin.parent.mkdir(parents=True)
    twin.write_text(json.dumps({"selections": {"router": {**found, "ids": found["ids"] + 0.01}}}))
    means = int8_means(int8_frame(tmp_path / "int8", tmp_path / "fp32", [("x", "v")], ["test"], [1]))
    assert means.ids_change.iloc[0] == pytest.approx(-0.01)
    assert means.mean_acc_change.iloc[0] == 0
