"""Second chances for idle entries: which, onto which latents; and how many in a balanced start of many groups."""

import pytest
import torch

from stscq.quantization.codebooks import Codebooks
from stscq.quantization.revival import KEPT, PATIENCE, Revival
from stscq.quantization.search import Assignment
from stscq.training.batches import generator


def test_idle_entries_move_onto_latents_of_their_group():
    z = torch.arange(240.0).view(40, 3, 2)  # 40 images of 3 tokens
    codebooks = Codebooks(torch.full((3, 3, 2, 2), -1.0), "euclidean")
    revival = Revival(codebooks, T=3)
    group = torch.arange(40) % 2 * 2  # groups 0 and 2, 20 images each
    revival.record(Assignment(group, torch.zeros(40, 3, dtype=torch.int64)), z)  # entry 1 of every token is idle
    assert revival.revive(codebooks, generator(1, "revive", 0)) == 6
    weight = codebooks.weight.detach()
    assert (weight[1] == -1).all()  # no image uses group 1
    assert (weight[[0, 2], :, 0] == -1).all()  # in use
    for g in (0, 2):
        for token in range(3):
            assert any(torch.equal(weight[g, token, 1], z[image, token]) for image in range(40) if group[image] == g)
    assert revival.revive(codebooks, generator(1, "revive", 1)) == 0  # they have just had their chance


def test_an_entry_is_idle_by_the_latents_of_its_group():
    K = 4
    codebooks = Codebooks(torch.zeros(2, 1, K, 2), "euclidean")
    revival = Revival(codebooks, T=2)  # shared by two tokens: an image brings two latents
    one = Assignment(torch.tensor([1]), torch.tensor([[0, 1]]))
    for images in range(1, PATIENCE * K // 2 + 1):
        assert not revival.idle().any()
        revival.record(one, torch.zeros(1, 2, 2))
        assert revival.seen.tolist() == [0, 2 * images]
    assert revival.idle().tolist() == [[[False] * 4], [[False, False, True, True]]]
    revival.checked.copy_(revival.seen)
    assert not revival.idle().any()  # nothing new of it to move entries onto


def test_the_ring_holds_the_last_latents_of_each_group():
    codebooks = Codebooks(torch.zeros(KEPT // 4, 1, 2, 1), "euclidean")
    revival = Revival(codebooks, T=1)  # four images a group
    for first in (0, 3):
        z = torch.arange(first, first + 7.0).view(7, 1, 1)
        group = torch.tensor([5, 5, 5, 5, 5, 5, 9])
        revival.record(Assignment(group, torch.zeros(7, 1, dtype=torch.int64)), z)
    assert sorted(revival.latents[5].flatten().tolist()) == [5, 6, 7, 8]
    assert revival.latents[9, :2].flatten().tolist() == [6, 9]


def test_a_latent_that_came_twice_is_taken_once():
    codebooks = Codebooks(torch.zeros(1, 1, 8, 1), "euclidean")
    revival = Revival(codebooks, T=1)
    z = torch.tensor([3.0, 5.0, 3.0, 7.0, 5.0] * 8).view(40, 1, 1)
    revival.record(Assignment(torch.zeros(40, dtype=torch.int64), torch.zeros(40, 1, dtype=torch.int64)), z)
    assert revival.revive(codebooks, generator(1, "revive", 0)) == 3  # seven are idle; four have to wait
    assert sorted(codebooks.weight.flatten().tolist()) == [0, 0, 0, 0, 0, 3, 5, 7]


@pytest.mark.parametrize(("M", "K", "windows"), [(256, 256, 30), (16, 1024, 8), (1, 4096, 6)])
def test_few_entries_move_in_a_balanced_start(M, K, windows):
    """Batches of 128 that use all groups and entries alike, revival every 200 steps: of what is idle by chance alone.

    By uses since the last revival, exp(-128 x 200 / M / K) of all entries would be: 68 % of 256 x 256.
    """
    random = torch.Generator().manual_seed(M)
    T = 2
    codebooks = Codebooks(torch.randn(M, T, K, 3, generator=random), "euclidean")
    revival = Revival(codebooks, T)
    assert revival.latents.numel() == KEPT * T * 3
    shares, plain = [], []
    for _ in range(windows):
        group = torch.randint(0, M, (128 * 200,), generator=random)
        index = torch.randint(0, K, (128 * 200, T), generator=random)
        z = torch.randn(128 * 200, T, 3, generator=random)
        revival.record(Assignment(group, index), z)
        shares.append(revival.revive(codebooks, random) / revival.last.numel())
        uses = torch.zeros(M, T, K, dtype=torch.bool)
        uses[group[:, None], torch.arange(T), index] = True
        plain.append(1 - uses.float().mean())
    assert max(shares) < 0.05
    assert sum(shares) > 0  # the simulation is long enough for entries to be idle by chance
    if M > 1:
        assert min(plain) > 0.2
    distinct = sum(len(book.unique(dim=0)) for book in codebooks.weight.detach().flatten(0, 1))
    assert distinct > 0.99 * M * T * K


def test_many_idle_entries_stay_distinct():
    """All but 64 of 4096 entries idle, from kept latents that come again and again."""
    random = torch.Generator().manual_seed(0)
    codebooks = Codebooks(torch.randn(1, 1, 4096, 3, generator=random), "euclidean")
    revival = Revival(codebooks, T=1)
    kept = torch.randn(8192, 1, 3, generator=random)
    moved = 0
    for step in range(1, 601):
        z = kept[torch.randint(0, len(kept), (128,), generator=random)]
        revival.record(Assignment(torch.zeros(128, dtype=torch.int64), torch.randint(0, 64, (128, 1))), z)
        if step % 200 == 0:
            moved += revival.revive(codebooks, generator(1, "revive", step))
    assert moved > 3000
    assert len(codebooks.weight[0, 0].detach().unique(dim=0)) > 0.99 * 4096
