"""The search against the definition in float64: sizes, metrics, precisions, ties, trained codebooks, memory."""

from itertools import groupby

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from stscq.codec.api import Codec
from stscq.data.store import open_store
from stscq.quantization.initialise import token_specific
from stscq.quantization.search import (
    Books,
    books,
    chosen_cpu,
    distances,
    group_errors,
    kernel_cpu,
    kernel_cuda,
    largest,
    measured_nn,
    nearest,
    normalise,
    search_cr,
    search_group,
    search_nn,
    settle,
    tiles,
)
from stscq.quantization.search.plain import Assignment, exact_distance, reference
from stscq.training.batches import to_float
from tests.test_int8 import routed  # noqa: F401  the fixture

METRICS = ["cosine", "euclidean", "inner"]
WAYS = ["kernel", "torch"]


def only(way, patch):
    """The search takes this way on this machine."""
    if way == "torch":
        patch.setattr(kernel_cpu, "usable", lambda z, books: False)


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    only(request.param, monkeypatch)
    return request.param


def problem(seed, B, M, T, S, K, d):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, d, generator=random), torch.randn(M, S, K, d, generator=random)


def trained(seed, B, M, T, K, d, metric):
    """Codebooks that look trained: most entries where the latents are, copies among them, groups that differ little."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(K, d, generator=random) * torch.logspace(0, -1.5, d)
    z = centres[torch.randint(0, K, (B, T), generator=random)] + 0.05 * torch.randn(B, T, d, generator=random)
    weight = token_specific(centres, z, K, M, metric, jitter=1e-3, seed=seed)
    weight[:, :, K // 2 :: 3] = weight[:, :, : len(range(K // 2, K, 3))]  # copies, behind their originals
    weight[M // 2] = weight[0]
    return z, weight


def same(found, wanted):
    assert torch.equal(found.group, wanted.group)
    assert torch.equal(found.index, wanted.index)


sizes = st.tuples(*[st.integers(1, n) for n in (5, 4, 6, 9, 5)])


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6), sizes, st.booleans(), st.sampled_from(METRICS), st.sampled_from([1 << 20, 64, 5]),
    st.sampled_from(WAYS),
)  # fmt: skip
def test_nn_is_the_definition_in_float64(seed, sizes, shared, metric, budget, way):
    B, M, T, K, d = sizes
    z, weight = problem(seed, B, M, T, 1 if shared else T, K, d)
    wanted, every = reference(z, weight, metric)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "BUDGET", budget)
        for module, name in ((tiles, "HELD"), (chosen_cpu, "ROOM"), (books, "KEPT")):
            patch.setattr(module, name, min(budget, getattr(module, name)))
        only(way, patch)
        same(search_nn(z, weight, metric), wanted)
        same(search_nn(z, list(weight), metric), wanted)
        errors = group_errors(z, weight, metric)
        torch.testing.assert_close(errors, every.min(-1).values.mean(-1).float(), atol=1e-5, rtol=1e-5)
        measured = measured_nn(z, weight, metric)
        torch.testing.assert_close(measured.errors, errors, atol=1e-5, rtol=1e-5)
        near = every[torch.arange(B), wanted.group].sort(-1).values
        gaps = near[..., 1] - near[..., 0] if K > 1 else torch.full((B, T), torch.inf)
        torch.testing.assert_close(measured.gaps, gaps.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("B", "M", "T", "K", "d"),
    [
        (1, 5, 7, 33, 12),
        (3, 4, 5, 256, 12),
        (3, 2, 4, 512, 80),
        (40, 3, 5, 17, 12),
        (1, 3, 6, 31, 80),
        (5, 4, 6, 40, 80),
        (20, 2, 3, 24, 80),
    ],
)
@pytest.mark.parametrize("kind", ["random", "trained"])
def test_every_path_gives_the_indices_of_float64(metric, B, M, T, K, d, kind, way):
    z, weight = problem(1, B, M, T, T, K, d) if kind == "random" else trained(1, B, M, T, K, d, metric)
    same(search_nn(z, weight, metric), reference(z, weight, metric)[0])


@pytest.mark.slow
def test_a_trained_codec_gives_the_indices_of_float64(routed, faces):  # noqa: F811
    codec = Codec.load(routed)
    images = to_float(open_store(faces).images[:100], codec.device)
    with torch.no_grad():
        z = codec.encoder.encode(images)
        group = codec.router(z).argmax(1)
    metric = codec.encoder.metric
    wanted, every = reference(z, codec.all_books, metric)
    same(search_nn(z, codec.all_books, metric), wanted)
    assert torch.equal(search_cr(z, codec.all_books, group, metric).index, every.argmin(-1)[torch.arange(100), group])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_codebooks_are_searched_in_float32(metric, dtype, way):
    for d in (12, 80):
        z, weight = problem(2, 6, 3, 4, 4, 20, d)
        same(search_nn(z, weight.to(dtype), metric), reference(z, weight.to(dtype), metric)[0])


@pytest.mark.parametrize("metric", METRICS)
def test_autocast_does_not_reach_into_the_search(metric):
    z, weight = problem(2, 20, 3, 4, 4, 20, 80)
    with torch.autocast("cpu", torch.bfloat16):
        same(search_nn(z, weight, metric), reference(z, weight, metric)[0])


@pytest.mark.parametrize("d", [12, 80])
def test_ties_take_the_first_entry_and_the_first_group(d, way):
    """Scores of equal entries may differ in rounding, by where the product's kernel has them."""
    z, weight = problem(4, 9, 5, 3, 3, 7, d)
    weight = weight[:1].repeat(5, 1, 5, 1) * 1.37  # 35 entries: each of 7 five times; 5 equal groups
    for metric in METRICS:
        found = search_nn(z, weight, metric)
        assert found.index.max() < 7
        assert found.group.eq(0).all()


@pytest.mark.parametrize("d", [12, 80])
@pytest.mark.parametrize("among_others", [False, True])
def test_what_float32_cannot_tell_apart_float64_decides(d, among_others, monkeypatch, way):
    """Entries 1e-9 apart (float32 scores are equal or in the wrong order); how often that happens is counted."""
    z = torch.randn(50, 20, d, generator=torch.Generator().manual_seed(0))
    entry = torch.randn(d, generator=torch.Generator().manual_seed(1)).double()
    weight = torch.stack([(entry * (1 + step * 1e-7)).float() for step in range(8)]).repeat(2, 20, 1, 1)
    if among_others:  # tokens that are clear: those in doubt are settled one by one, not with their images
        weight[:, 2:] = torch.randn(2, 18, 8, d, generator=torch.Generator().manual_seed(2))
    settled = []
    plain = settle._settle
    monkeypatch.setattr(settle, "_settle", lambda *a: settled.append(len(a[0])) or plain(*a))
    for metric in METRICS:
        same(search_nn(z, weight, metric), reference(z, weight, metric)[0])
    assert sum(settled) > 100


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [256, 1024, 2048])
def test_rounding_that_always_goes_the_same_way_is_within_the_bound(metric, d, way):
    """Sums of equal products: every step rounds alike."""
    for seed in range(10):
        random = torch.Generator().manual_seed(seed)
        z = torch.ones(1, 1, d)
        weight = (
            1.1 + 1e-7 * torch.rand(2, 1, 2, 1, generator=random) + 1e-6 * torch.randn(2, 1, 2, d, generator=random)
        )
        same(search_nn(z, weight, metric), reference(z, weight, metric)[0])
    books_ = Books(torch.full((1, 1, 1, d), 1.1), "inner")
    found = largest.way(z, books_, False)(tiles.Tile(0, 1, 0, 1, 0, 1))
    error = (found.top.double() - d * float(torch.tensor(1.1))).abs()
    assert error <= tiles.error_bound(torch.tensor(d**0.5), found.reach, d, "inner")


def test_long_and_short_groups_have_their_own_bounds(way):
    z = torch.randn(60, 2, 12, generator=torch.Generator().manual_seed(0))
    entry = torch.randn(12, generator=torch.Generator().manual_seed(1)).double()
    near = torch.stack([(entry * (1 + step * 1e-7)).float() for step in range(8)])
    weight = torch.stack([near * scale for scale in (1e-3, 1, 1e3)])[:, None].repeat(1, 2, 1, 1)
    group = torch.arange(60) % 3
    for metric in METRICS:
        wanted = reference(z, weight, metric)[1].argmin(-1)[torch.arange(60), group]
        same(search_cr(z, weight, group, metric), Assignment(group, wanted))


@pytest.mark.parametrize("metric", METRICS)
def test_of_equal_distances_the_first_wins_wherever_entries_lie(metric, way):
    random = torch.Generator().manual_seed(0)
    z = torch.randint(-2, 3, (30, 5, 4), generator=random).float()
    weight = torch.randint(-2, 3, (4, 5, 4, 20), generator=random).float().mT  # transposed in memory
    assert not weight.is_contiguous()
    same(search_nn(z, weight, metric), reference(z, weight, metric)[0])


@pytest.mark.parametrize("metric", METRICS)
def test_torchs_defaults_and_lazy_signs_do_not_matter(metric, way):
    z, weight = problem(2, 20, 3, 4, 4, 20, 80)
    wanted = reference(z, weight, metric)[0]
    negated = torch._neg_view(-z), torch._neg_view(-weight)
    same(search_nn(*negated, metric), wanted)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        same(search_nn(z, weight, metric), wanted)
        same(search_cr(z, weight, wanted.group, metric), wanted)
    finally:
        torch.set_default_dtype(before)


def test_what_cannot_be_searched_is_refused(way):
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
    with pytest.raises((ValueError, RuntimeError, NotImplementedError)):
        search_nn(z, weight.to("meta"), "inner")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [12, 80])
@pytest.mark.parametrize("places", [True, False])
def test_scores_are_within_their_bound(metric, d, places, way):
    z, weight = problem(6, 40, 2, 4, 4, 50, d)
    z, weight = tiles.by_book(z * 100, 4), weight + 3
    found = largest.way(z, Books(weight, metric), places)(tiles.Tile(0, 2, 0, 4, 0, 40))
    z = z.repeat(2, 1, 1)
    distance = exact_distance(z[:, :, None], weight.flatten(0, 1)[:, None], metric)
    length = z.double().norm(dim=-1)[..., None]
    exact = {"cosine": length * (1 - distance / 2), "euclidean": (length**2 - distance) / 2, "inner": -distance}[metric]
    bound = tiles.error_bound(length.squeeze(-1), found.reach[:, None], d, metric)
    assert ((found.top - exact.amax(-1)).abs() <= bound).all()
    # ... which is not so wide that float64 has to decide everything
    assert (bound.median() / exact.std()) < 1e-3
    if places:
        assert ((exact.gather(-1, found.place[..., None].long()).squeeze(-1) - found.top).abs() <= bound).all()
        assert ((exact.sort(-1).values[..., -2] - found.second).abs() <= bound).all()


@pytest.mark.parametrize("K", [1, 7, 256, 300, 1024])
def test_two_largest(K):
    scores = torch.randint(0, 3 * K, (200, K), generator=torch.Generator().manual_seed(K)).float()
    top, index, second = settle.two_largest(scores.clone())
    ordered = torch.cat([torch.full((200, 1), -torch.inf), scores], 1).sort(-1).values
    assert torch.equal(top, ordered[:, -1])
    assert torch.equal(second, ordered[:, -2])
    assert torch.equal(scores.gather(1, index[:, None])[:, 0], top)
    assert (second == top).any() or K < 7


def test_few_cases_are_in_doubt(monkeypatch, way):
    settled = []
    plain = settle._settle
    monkeypatch.setattr(settle, "_settle", lambda *a: settled.append(len(a[0])) or plain(*a))
    z, weight = problem(7, 64, 1, 16, 16, 256, 12)
    for metric in METRICS:
        search_nn(z, weight, metric)
    assert sum(settled) < 0.002 * 3 * 64 * 16


@pytest.mark.parametrize("metric", METRICS)
def test_known_norms_change_nothing(metric, way):
    z, weight = problem(8, 6, 5, 4, 4, 20, 12)
    prepared = Books(weight, metric)
    wanted = reference(z, weight, metric)[0]
    same(search_nn(z, prepared, metric), wanted)
    same(search_nn(z, prepared, metric), wanted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(books, "KEPT", 2 * 4 * 20)  # two of five groups
        prepared = Books(weight, metric)
        same(search_nn(z, prepared, metric), wanted)
        same(search_nn(z, prepared, metric), wanted)
        patch.setattr(tiles, "BUDGET", 1)
        same(search_nn(z, prepared, metric), wanted)


@pytest.mark.parametrize("kept", [1 << 20, 0])
def test_unit_entries_need_no_norms(kept, monkeypatch):
    monkeypatch.setattr(books, "KEPT", kept)
    z, weight = problem(9, 6, 5, 4, 4, 20, 12)
    weight[1:] = normalise(weight[1:], "cosine")  # group 0 is not
    prepared = Books(weight, "cosine")
    same(search_nn(z, prepared, "cosine"), reference(z, weight, "cosine")[0])
    assert prepared.plain == [False, True, True, True, True]
    assert prepared.norms(1, 4, 0, 4).correction is None


def test_books_are_searched_by_their_own_distance():
    z, weight = problem(9, 6, 5, 4, 4, 20, 12)
    with pytest.raises(ValueError, match="cannot be searched by inner"):
        search_nn(z, Books(weight, "cosine"), "inner")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [3, 80])
def test_pieces_of_the_images_do_not_change_the_result(metric, d, monkeypatch, way):
    z, weight = problem(3, 7, 3, 5, 5, 8, d)
    whole, errors = search_nn(z, weight, metric), group_errors(z, weight, metric)
    monkeypatch.setattr(nearest, "LATENTS", 2 * 5 * d)
    same(search_nn(z, weight, metric), whole)
    torch.testing.assert_close(group_errors(z, weight, metric), errors)


@pytest.mark.parametrize("d", [3, 80])
def test_never_holds_scores_of_more_than_the_budget(monkeypatch, d):
    only("torch", monkeypatch)
    monkeypatch.setattr(tiles, "BUDGET", 64)
    seen = []
    plain = tiles.multiply
    monkeypatch.setattr(tiles, "multiply", lambda *a: seen.append(out := plain(*a)) or out)
    z, weight = problem(1, 9, 4, 6, 6, 16, d)
    search_nn(z, weight, "euclidean")
    assert max(scores.numel() for scores in seen) <= 64 < 9 * 4 * 6 * 16


@pytest.mark.parametrize("metric", METRICS)
def test_never_converts_more_than_the_budget(monkeypatch, metric, way):
    monkeypatch.setattr(tiles, "BUDGET", 2 * 16 * 80)
    seen = []
    plain = Books.entries
    monkeypatch.setattr(Books, "entries", lambda *a: seen.append(out := plain(*a)) or out)
    z, weight = problem(1, 9, 4, 6, 6, 16, 80)
    largest_of = largest.way(tiles.by_book(z, 6), Books(weight.half(), metric), True)
    for slab in tiles.slabs(largest_of.books, 9, largest_of.size):
        for tile in tiles.tiles(slab, largest_of.books, 9, largest_of.size):
            largest_of(tile)
    assert max(entries.numel() for entries in seen) <= tiles.BUDGET
    assert sum(entries.numel() for entries in seen) == weight.numel()


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

    same(search_nn(z, FromFile(), metric), search_nn(z, weight, metric))
    found = Books(FromFile(), metric)
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
def test_groups_of_different_sizes_are_refused(axis, way):
    z, weight = problem(5, 6, 2, 3, 3, 8, 5)
    smaller = weight[1].narrow(axis, 0, weight.shape[1 + axis] - 1)
    with pytest.raises((ValueError, RuntimeError)):
        search_cr(z, [weight[0], smaller], torch.tensor([0, 1] * 3), "euclidean")


def test_no_images_at_all():
    z, weight = problem(5, 0, 4, 3, 3, 8, 5)
    assert search_nn(z, weight, "cosine").index.shape == (0, 3)
    assert group_errors(z, weight, "cosine").shape == (0, 4)


def test_worked_example():
    # z = (3, 4): squared distances to (3, 0), (0, 4), (1, 1) are 16, 9, 13; inner products 9, 16, 7;
    # cosines 0.6, 0.8, 7 / (5 sqrt 2) = 0.99.
    z, entries = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
    assert distances(z, entries, "euclidean").tolist() == [[16.0, 9.0, 13.0]]
    assert distances(z, entries, "inner").tolist() == [[-9.0, -16.0, -7.0]]
    assert distances(z, entries, "cosine").argmin() == 2
    for metric, nearest_entry, distance in (("euclidean", 1, 9.0), ("inner", 1, -16.0), ("cosine", 2, 0.0201)):
        index, error = search_group(z[None], entries[None], metric)
        assert index.item() == nearest_entry
        assert error.item() == pytest.approx(distance, abs=1e-4)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shared", [True, False])
def test_search_around_the_kernel_for_cuda(metric, shared, monkeypatch):
    """A stand-in for the kernel, which needs CUDA."""
    calls = []

    def stand_in(z, entries, norms, metric):
        calls.append(len(z))
        return tiles.score(z, entries, norms, metric, torch.empty(*z.shape[:2], entries.shape[1])).amax(-1)

    only("torch", monkeypatch)
    monkeypatch.setattr(kernel_cuda, "usable", lambda z: True)
    monkeypatch.setattr(kernel_cuda, "largest", stand_in)
    z, weight = problem(10, 6, 5, 4, 1 if shared else 4, 20, 12)
    same(search_nn(z, weight, metric), reference(z, weight, metric)[0])
    same(search_nn(z, list(weight), metric), reference(z, weight, metric)[0])
    assert calls


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("B", "M", "T", "K", "d"), [(1, 5, 7, 33, 12), (40, 3, 5, 257, 33), (5, 4, 6, 40, 80)])
@pytest.mark.parametrize("kind", ["random", "trained"])
def test_the_indices_of_a_gpu_are_those_of_float64(metric, B, M, T, K, d, kind):
    z, weight = problem(1, B, M, T, T, K, d) if kind == "random" else trained(1, B, M, T, K, d, metric)
    found = search_nn(z.cuda(), weight.cuda(), metric)
    same(type(found)(found.group.cpu(), found.index.cpu()), reference(z, weight, metric)[0])


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("N", "K", "d"), [(5, 100, 12), (40, 256, 12), (3, 7, 33)])
def test_the_kernel_for_cuda_finds_the_largest_scores(metric, N, K, d):
    pytest.importorskip("triton")
    z, weight = torch.randn(4, N, d, device="cuda"), torch.randn(2, 2, K, d, device="cuda")
    prepared = Books(weight, metric)
    entries, norms = prepared.entries(0, 2, 0, 2), prepared.norms(0, 2, 0, 2)
    plain = tiles.score(z, entries, norms, metric, torch.empty(4, N, K, device="cuda")).amax(-1)
    torch.testing.assert_close(kernel_cuda.largest(z, entries, norms, metric), plain)
