"""The search: what it refuses, holds in memory, reads, and measures again."""

from itertools import groupby
from weakref import WeakSet

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from stscq.quantization.search import (
    PreparedCodebooks,
    cpu_backend,
    group_errors,
    nearest,
    normalise,
    prepared,
    scores,
    search_cr,
    search_group,
    search_nn,
    torch_backend,
    totals,
)
from stscq.quantization.search.reference import reference
from tests.search_problems import METRICS, assert_same, only, problem


@pytest.mark.parametrize("metric", METRICS)
def test_torchs_defaults_and_lazy_signs_do_not_matter(metric, backend_name):
    z, weight = problem(2, 20, 3, 4, 4, 20, 80)
    wanted = reference(z, weight, metric)[0]
    negated = torch._neg_view(-z), torch._neg_view(-weight)
    assert_same(search_nn(*negated, metric), wanted)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        assert_same(search_nn(z, weight, metric), wanted)
        assert_same(search_cr(z, weight, wanted.group, metric), wanted)
    finally:
        torch.set_default_dtype(before)


def test_what_cannot_be_searched_is_refused(backend_name):
    z, weight = problem(2, 3, 2, 4, 4, 20, 12)
    group = torch.tensor([0, 1, 1])
    for latents in (z[:, :3], z[..., :5], z[0], torch.cat([z, z], 1)):
        with pytest.raises(ValueError, match="do not fit groups of 4 x 20 x 12"):
            search_nn(latents, weight, "inner")
    for numbers in (group[:2], group - 1, group + 1):
        with pytest.raises(ValueError, match="a number from 0 to 1 for each of 3 images"):
            search_cr(z, weight, numbers, "inner")
    for value in (torch.nan, torch.inf):
        broken = z.clone()
        broken[1, 2, 3] = value
        with pytest.raises(ValueError, match="no finite numbers"):
            search_nn(broken, weight, "inner")
        broken = weight.clone()
        broken[1, 2, 3, 4] = value
        with pytest.raises(ValueError, match="group 1 has entries that are no numbers"):
            search_nn(z, broken, "inner")
    with pytest.raises(ValueError, match="longer than 1e19"):
        search_nn(z * 1e19, weight, "inner")
    with pytest.raises(ValueError, match=r"group 1 is 4 x 20 x 12, torch.float16, where group 0 is .*, torch.float32"):
        search_nn(z, [weight[0], weight[1].half()], "inner")
    with pytest.raises(RuntimeError, match="meta tensor"):
        search_nn(z, weight.to("meta"), "inner")


@pytest.mark.parametrize("metric", METRICS)
def test_known_norms_change_nothing(metric, backend_name):
    z, weight = problem(8, 6, 5, 4, 4, 20, 12)
    codebooks = PreparedCodebooks(weight, metric)
    wanted = reference(z, weight, metric)[0]
    assert_same(search_nn(z, codebooks, metric), wanted)
    assert_same(search_nn(z, codebooks, metric), wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "KEPT", 2 * 4 * 20)  # two of five groups
        codebooks = PreparedCodebooks(weight, metric)
        assert_same(search_nn(z, codebooks, metric), wanted)
        assert_same(search_nn(z, codebooks, metric), wanted)
        patch.setattr(scores, "BUDGET", 1)
        assert_same(search_nn(z, codebooks, metric), wanted)


@pytest.mark.parametrize("kept", [1 << 20, 0])
def test_unit_entries_need_no_norms(kept, monkeypatch):
    monkeypatch.setattr(prepared, "KEPT", kept)
    z, weight = problem(9, 6, 5, 4, 4, 20, 12)
    weight[1:] = normalise(weight[1:], "cosine")  # group 0 is not
    codebooks = PreparedCodebooks(weight, "cosine")
    assert_same(search_nn(z, codebooks, "cosine"), reference(z, weight, "cosine")[0])
    assert codebooks.uncorrected == [False, True, True, True, True]
    assert codebooks.norms(range(1, 5), slice(0, 4)).correction is None


def test_codebooks_are_searched_by_their_own_distance():
    z, weight = problem(9, 6, 5, 4, 4, 20, 12)
    with pytest.raises(ValueError, match="cannot be searched by inner"):
        search_nn(z, PreparedCodebooks(weight, "cosine"), "inner")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [3, 80])
def test_pieces_of_the_images_do_not_change_the_result(metric, d, monkeypatch, backend_name):
    z, weight = problem(3, 7, 3, 5, 5, 8, d)
    whole, errors = search_nn(z, weight, metric), group_errors(z, weight, metric)
    monkeypatch.setattr(nearest, "LATENTS", 2 * 5 * d)
    assert_same(search_nn(z, weight, metric), whole)
    torch.testing.assert_close(group_errors(z, weight, metric), errors)


@pytest.mark.parametrize("d", [3, 80])
def test_never_holds_scores_of_more_than_the_budget(monkeypatch, d):
    only("torch", monkeypatch)
    monkeypatch.setattr(scores, "BUDGET", 64)
    seen = []
    plain = torch_backend.multiply
    monkeypatch.setattr(torch_backend, "multiply", lambda *a: seen.append(out := plain(*a)) or out)
    z, weight = problem(1, 9, 4, 6, 6, 16, d)
    search_nn(z, weight, "euclidean")
    assert max(out.numel() for out in seen) <= 64 < 9 * 4 * 6 * 16


@pytest.mark.parametrize("metric", METRICS)
def test_never_converts_more_than_the_budget(monkeypatch, metric, backend_name):
    monkeypatch.setattr(scores, "BUDGET", 2 * 16 * 80)
    seen = []
    plain = PreparedCodebooks.entries
    monkeypatch.setattr(PreparedCodebooks, "entries", lambda *a: seen.append(out := plain(*a)) or out)
    z, weight = problem(1, 9, 4, 6, 6, 16, 80)
    backend = totals.backend_for(scores.by_codebook(z, 6), PreparedCodebooks(weight.half(), metric), True)
    for _ in backend.all_top_scores():
        pass
    assert max(entries.numel() for entries in seen) <= scores.BUDGET
    assert sum(entries.numel() for entries in seen) == weight.numel()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("search", ["nn", "cr"])
@pytest.mark.parametrize(("S", "K", "d"), [(64, 2048, 2), (16, 512, 2)])
def test_norms_take_no_more_memory_for_more_groups(metric, search, S, K, d, monkeypatch):
    monkeypatch.setattr(prepared, "KEPT", 0)
    monkeypatch.setattr(scores, "BUDGET", 1 << 17)
    monkeypatch.setattr(cpu_backend, "LAID_OUT", 1 << 17)
    alive, peaks = WeakSet(), []
    plain = PreparedCodebooks.norms

    def norms(*a):
        found = plain(*a)
        if found.correction is not None:
            alive.add(found.correction)
            peaks.append(sum(correction.numel() for correction in alive))
        return found

    monkeypatch.setattr(PreparedCodebooks, "norms", norms)
    z, weight = problem(5, 64, 64, S, S, K, d)
    if search == "nn":
        search_nn(z[:1], weight, metric)
    else:
        search_cr(z, weight, torch.arange(64), metric)
    assert max(peaks, default=0) <= 2 * max(1 << 17, S * K)


@pytest.mark.parametrize("metric", METRICS)
def test_groups_are_searched_where_they_lie_in_a_file(metric, tmp_path):
    z, weight = problem(5, 6, 4, 3, 3, 8, 5)
    save_file({f"group{i}": group for i, group in enumerate(weight)}, tmp_path / "books.safetensors")

    class FromFile:
        read: list[int] = []  # noqa: RUF012

        def __len__(self):
            return 4

        def __getitem__(self, i):
            self.read.append(i)
            with safe_open(tmp_path / "books.safetensors", "pt") as file:
                return file.get_tensor(f"group{i}")

    assert_same(search_nn(z, FromFile(), metric), search_nn(z, weight, metric))
    found = PreparedCodebooks(FromFile(), metric)
    FromFile.read.clear()
    search_cr(z, found, torch.tensor([2, 0, 0, 2, 2, 2]), metric)
    assert [group for group, _ in groupby(FromFile.read)] == [0, 2]  # one after another


@pytest.mark.parametrize("metric", METRICS)
def test_cr_searches_only_the_given_group(metric):
    z, weight = problem(5, 6, 4, 3, 3, 8, 5)
    group = torch.tensor([3, 0, 0, 2, 3, 1])
    found = search_cr(z, weight, group, metric)
    for b in range(6):
        alone, _ = search_group(z[b : b + 1], weight[group[b]], metric)
        assert torch.equal(found.index[b], alone[0])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_groups_of_different_sizes_are_refused(axis, backend_name):
    z, weight = problem(5, 6, 2, 3, 3, 8, 5)
    smaller = weight[1].narrow(axis, 0, weight.shape[1 + axis] - 1)
    sizes = " x ".join(map(str, smaller.shape))
    with pytest.raises(ValueError, match=f"group 1 is {sizes}, torch.float32, where group 0 is 3 x 8 x 5"):
        search_cr(z, [weight[0], smaller], torch.tensor([0, 1] * 3), "euclidean")


def test_no_images_at_all():
    z, weight = problem(5, 0, 4, 3, 3, 8, 5)
    assert search_nn(z, weight, "cosine").index.shape == (0, 3)
    assert group_errors(z, weight, "cosine").shape == (0, 4)
