"""Looking up entries, by hand: of token-specific and shared codebooks, and of groups in use alone."""

import pytest
import torch

from stscq.quantization.codebooks import Codebooks
from stscq.quantization.lookup import lookup
from stscq.quantization.search import Assignment

ASSIGNMENT = Assignment(torch.tensor([2, 0, 2]), torch.tensor([[1, 0], [0, 1], [0, 0]]))


def numbered(M, S, K):
    """M x S x K x 1: the entry k of codebook s of group g is 100 g + 10 s + k."""
    g, s, k = torch.meshgrid(torch.arange(M), torch.arange(S), torch.arange(K), indexing="ij")
    return (100.0 * g + 10 * s + k)[..., None]


@pytest.mark.parametrize(
    ("S", "expected"), [(2, [[201, 210], [0, 11], [200, 210]]), (1, [[201, 200], [0, 1], [200, 200]])]
)
def test_entries_by_hand(S, expected):
    codebooks, asked = numbered(3, S, 2), []
    entries = lookup(lambda group: asked.append(group) or codebooks[group], ASSIGNMENT)
    assert entries[..., 0].tolist() == expected
    assert asked == [0, 2]
    assert Codebooks(codebooks, "euclidean").lookup(ASSIGNMENT)[..., 0].tolist() == expected


def test_no_images_have_no_entries():
    with pytest.raises(ValueError, match="no images"):
        lookup(numbered(1, 1, 2).__getitem__, Assignment(torch.zeros(0, dtype=int), torch.zeros(0, 2, dtype=int)))
