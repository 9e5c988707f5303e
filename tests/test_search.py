"""The search against the definition in float64: sizes, metrics, precisions, ties, rounding, trained codebooks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stscq.codec.api import Codec
from stscq.data.store import open_store
from stscq.data.tensors import to_float
from stscq.quantization.search import (
    PreparedCodebooks,
    cpu_backend,
    cpu_kernel,
    cuda_backend,
    distances,
    group_errors,
    measured_nn,
    nearest_of_one,
    prepare_codebooks,
    prepared,
    scores,
    search_cr,
    search_group,
    search_nn,
    torch_backend,
    totals,
)
from stscq.quantization.search.reference import Assignment, exact_distance, reference
from tests.search_problems import BACKENDS, METRICS, assert_same, only, problem, trained
from tests.test_int8 import routed  # noqa: F401  the fixture

sizes = st.tuples(*[st.integers(1, n) for n in (5, 4, 6, 9, 5)])


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 10**6), sizes, st.booleans(), st.sampled_from(METRICS), st.sampled_from([1 << 20, 64, 5]),
    st.sampled_from(BACKENDS),
)  # fmt: skip
def test_nn_is_the_definition_in_float64(seed, sizes, shared, metric, budget, backend_name):
    B, M, T, K, d = sizes
    z, weight = problem(seed, B, M, T, 1 if shared else T, K, d)
    wanted, every = reference(z, weight, metric)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "BUDGET", budget)
        for module, name in ((scores, "HELD"), (cpu_backend, "LAID_OUT"), (prepared, "KEPT")):
            patch.setattr(module, name, min(budget, getattr(module, name)))
        only(backend_name, patch)
        assert_same(search_nn(z, weight, metric), wanted)
        assert_same(search_nn(z, list(weight), metric), wanted)
        errors = group_errors(z, weight, metric)
        torch.testing.assert_close(errors, errors_by_definition(z, weight, metric, every), atol=1e-5, rtol=1e-5)
        measured = measured_nn(z, weight, metric)
        if M == 1:
            assert measured.errors is None
        else:
            torch.testing.assert_close(measured.errors, errors, atol=1e-5, rtol=1e-5)
        near = every[torch.arange(B), wanted.group].sort(-1).values
        gaps = near[..., 1] - near[..., 0] if K > 1 else torch.full((B, T), torch.inf)
        torch.testing.assert_close(measured.gaps, gaps.float(), atol=1e-5, rtol=1e-5)


def errors_by_definition(z, weight, metric, every):
    """B x M. every: the distances, B x M x T x K."""
    if metric != "inner":
        return every.min(-1).values.mean(-1).float()
    squares = torch.stack([exact_distance(z[:, :, None], group, "euclidean") for group in weight], 1)
    return squares.gather(-1, every.argmin(-1, keepdim=True)).mean((2, 3)).float()


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
def test_every_path_gives_the_indices_of_float64(metric, B, M, T, K, d, kind, backend_name):
    z, weight = problem(1, B, M, T, T, K, d) if kind == "random" else trained(1, B, M, T, K, d, metric)
    assert_same(search_nn(z, weight, metric), reference(z, weight, metric)[0])


@pytest.mark.slow
def test_a_trained_codec_gives_the_indices_of_float64(routed, faces):  # noqa: F811
    codec = Codec.load(routed)
    images = to_float(open_store(faces).images[:100], codec.device)
    with torch.no_grad():
        z = codec.encoder.encode(images)
        group = codec.router(z).argmax(1)
    metric = codec.encoder.metric
    wanted, every = reference(z, codec.all_codebooks, metric)
    assert_same(search_nn(z, codec.all_codebooks, metric), wanted)
    assert torch.equal(
        search_cr(z, codec.all_codebooks, group, metric).index, every.argmin(-1)[torch.arange(100), group]
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_codecodebooksare_searched_in_float32(metric, dtype, backend_name):
    for d in (12, 80):
        z, weight = problem(2, 6, 3, 4, 4, 20, d)
        assert_same(search_nn(z, weight.to(dtype), metric), reference(z, weight.to(dtype), metric)[0])


@pytest.fixture(params=["autocast", "bf16"])
def less_than_float32(request):
    """Products in bfloat16, where torch decides and the CPU has them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if request.param == "bf16" else before)
    with torch.autocast("cpu", torch.bfloat16, enabled=request.param == "autocast"):
        yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("N", [1, 6, 40])
@pytest.mark.parametrize("half", [False, True])
def test_products_are_float32_whatever_the_process_allows(metric, N, half, less_than_float32, backend_name):
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [backend.fp32_precision for backend in backends]
    z, weight = trained(2, N, 4, 5, 256, 96, metric)
    weight = weight.half() if half else weight
    wanted, every = reference(z, weight, metric)
    assert_same(search_nn(z, weight, metric), wanted)
    group = torch.arange(N) % 4
    assert torch.equal(search_cr(z, weight, group, metric).index, every.argmin(-1)[torch.arange(N), group])
    assert [backend.fp32_precision for backend in backends] == before


@pytest.mark.parametrize("metric", METRICS)
def test_totals_that_overflow_are_compared_in_float64(metric, backend_name):
    z, weight = problem(3, 20, 6, 40, 40, 8, 12)
    for scale, long in ((2e18, 2e18), (1e15, 1e18), (1e18, 1e13)):
        assert_same(search_nn(z * scale, weight * long, metric), reference(z * scale, weight * long, metric)[0])


@pytest.mark.parametrize("d", [12, 80])
def test_ties_take_the_first_entry_and_the_first_group(d, backend_name):
    """Scores of equal entries may differ in rounding, by where the product's kernel has them."""
    z, weight = problem(4, 9, 5, 3, 3, 7, d)
    weight = weight[:1].repeat(5, 1, 5, 1) * 1.37  # 35 entries: each of 7 five times; 5 equal groups
    for metric in METRICS:
        found = search_nn(z, weight, metric)
        assert found.index.max() < 7
        assert found.group.eq(0).all()


@pytest.mark.parametrize("d", [12, 80])
@pytest.mark.parametrize("among_others", [False, True])
def test_what_float32_cannot_tell_apart_float64_decides(d, among_others, monkeypatch, backend_name):
    """Entries 1e-9 apart (float32 scores are equal or in the wrong order); how often that happens is counted."""
    z = torch.randn(50, 20, d, generator=torch.Generator().manual_seed(0))
    entry = torch.randn(d, generator=torch.Generator().manual_seed(1)).double()
    weight = torch.stack([(entry * (1 + step * 1e-7)).float() for step in range(8)]).repeat(2, 20, 1, 1)
    if among_others:  # tokens that are clear: ambiguous ones are resolved one by one, not with their images
        weight[:, 2:] = torch.randn(2, 18, 8, d, generator=torch.Generator().manual_seed(2))
    resolved = []
    plain = torch_backend.nearest_in_float64
    monkeypatch.setattr(torch_backend, "nearest_in_float64", lambda *a: resolved.append(len(a[0])) or plain(*a))
    for metric in METRICS:
        assert_same(search_nn(z, weight, metric), reference(z, weight, metric)[0])
    assert sum(resolved) > 100


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [12, 80])
def test_groups_that_float32_confuses_have_their_own_entries(metric, d, backend_name):
    """Two groups whose entries differ in the last bit, in another order: float64 often moves an image to the other."""
    z, weight = problem(12, 100, 1, 6, 6, 16, d)
    moved = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    weight = torch.cat([weight, weight.flip(2) * torch.where(moved, 1 + 2.0**-23, 1.0)])
    assert_same(search_nn(z, weight, metric), reference(z, weight, metric)[0])


def added(values, times):
    """values x times, as a sum in float32."""
    return torch.from_numpy(np.cumsum(values[:, None].expand(-1, times).numpy(), axis=1, dtype=np.float32)[:, -1])


@pytest.mark.parametrize("d", [64, 256, 1024, 2048])
def test_rounding_that_always_goes_the_same_way_is_within_the_bound(d, backend_name):
    """Sums of equal products: every step rounds alike, up for one entry and down for the other."""
    constants = torch.linspace(1.5, 1.501, 600)
    block = min(d, cpu_kernel.BLOCK if backend_name == "kernel" else d)
    sums = added(added(constants, block), d // block)
    error = sums.double() - d * constants.double()
    up, down = constants[error.argmax()], constants[error.argmin()]
    z = torch.ones(1, 1, d)
    for units in (-200, -100, -50, -20, -10, -5, -2, 2, 5, 10, 20, 50, 100, 200):  # by how much the second is larger
        weight = torch.stack([up.expand(d), down.expand(d)]).clone()
        weight[1, -1] += float(d * (up.double() - down.double()) + units * scores.ROUNDING * d * up)
        for entries in (weight, weight.flip(0)):
            codebooks = PreparedCodebooks(entries[None, None], "inner")
            assert_same(search_nn(z, codebooks, "inner"), reference(z, entries[None, None], "inner")[0])
            backend = totals.backend_for(z, codebooks, False)
            found = backend.top_scores(range(1))
            exact = entries.double().sum(1).max()
            bound = scores.error_bound(
                d**0.5 * codebooks.reach[0], codebooks.reach[0] ** 2, backend.roundings, d, "inner"
            )
            assert (found.top - exact).abs() <= bound


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [12, 80])
def test_short_latents_among_entries_of_one_length(metric, d, backend_name):
    """Rounded norms outweigh the products."""
    z, weight = problem(11, 30, 3, 8, 8, 64, d)
    z, weight = z * 1e-7, torch.nn.functional.normalize(weight, dim=-1)
    assert_same(search_nn(z, weight, metric), reference(z, weight, metric)[0])


def test_long_and_short_groups_have_their_own_bounds(backend_name):
    z = torch.randn(60, 2, 12, generator=torch.Generator().manual_seed(0))
    entry = torch.randn(12, generator=torch.Generator().manual_seed(1)).double()
    near = torch.stack([(entry * (1 + step * 1e-7)).float() for step in range(8)])
    weight = torch.stack([near * scale for scale in (1e-3, 1, 1e3)])[:, None].repeat(1, 2, 1, 1)
    group = torch.arange(60) % 3
    for metric in METRICS:
        wanted = reference(z, weight, metric)[1].argmin(-1)[torch.arange(60), group]
        assert_same(search_cr(z, weight, group, metric), Assignment(group, wanted))


@pytest.mark.parametrize("metric", METRICS)
def test_of_equal_distances_the_first_wins_wherever_entries_lie(metric, backend_name):
    random = torch.Generator().manual_seed(0)
    z = torch.randint(-2, 3, (30, 5, 4), generator=random).float()
    weight = torch.randint(-2, 3, (4, 5, 4, 20), generator=random).float().mT  # transposed in memory
    assert not weight.is_contiguous()
    assert_same(search_nn(z, weight, metric), reference(z, weight, metric)[0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [12, 80])
@pytest.mark.parametrize("with_entry", [True, False])
def test_scores_are_within_their_bound(metric, d, with_entry, backend_name):
    z, weight = problem(6, 40, 2, 4, 4, 50, d)
    z, weight = scores.by_codebook(z * 100, 4), weight + 3
    codebooks = PreparedCodebooks(weight, metric)
    backend = totals.backend_for(z, codebooks, with_entry)
    found = scores.TopScores(*(None if t is None else t.flatten(0, 1) for t in backend.top_scores(range(2))))
    z = z.repeat(2, 1, 1)
    distance = exact_distance(z[:, :, None], weight.flatten(0, 1)[:, None], metric)
    length = z.double().norm(dim=-1)[..., None]
    exact = {"cosine": length * (1 - distance / 2), "euclidean": (length**2 - distance) / 2, "inner": -distance}[metric]
    reach = codebooks.reach.view(-1, 1)
    bound = scores.error_bound(length.squeeze(-1) * reach, reach.square(), backend.roundings, d, metric)
    assert ((found.top - exact.amax(-1)).abs() <= bound).all()
    # ... which is not so wide that float64 has to decide everything
    assert (bound.median() / exact.std()) < 1e-3
    if with_entry:
        assert ((exact.gather(-1, found.entry[..., None].long()).squeeze(-1) - found.top).abs() <= bound).all()
        assert ((exact.sort(-1).values[..., -2] - found.second).abs() <= bound).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("d", [12, 80])
def test_totals_are_within_their_doubt(metric, shared, d, backend_name):
    z, weight = problem(6, 40, 3, 30, 1 if shared else 30, 50, d)
    z, weight = z * torch.logspace(-2, 2, 30)[:, None], weight + 3
    every = reference(z, weight, metric)[1].amin(-1)  # B x M x T
    square = z.double().square().sum(-1)[:, None]
    exact = {"cosine": 1 - every / 2, "euclidean": (square - every) / 2, "inner": -every}[metric].sum(-1).T
    for with_entry in (True, False):
        found = list(totals.sweep(z, PreparedCodebooks(weight, metric), with_entry))
        summed, doubt = (torch.cat(column) for column in zip(*((s.totals, s.bound) for s in found), strict=True))
        assert ((summed - exact).abs() <= doubt).all()
        assert doubt.median() / exact.std(0).median() < 1e-2


@pytest.mark.parametrize("K", [1, 7, 256, 300, 1024])
def test_two_largest(K):
    rows = torch.randint(0, 3 * K, (200, K), generator=torch.Generator().manual_seed(K)).float()
    top, index, second = torch_backend.two_largest(rows.clone())
    ordered = torch.cat([torch.full((200, 1), -torch.inf), rows], 1).sort(-1).values
    assert torch.equal(top, ordered[:, -1])
    assert torch.equal(second, ordered[:, -2])
    assert torch.equal(rows.gather(1, index[:, None])[:, 0], top)
    assert (second == top).any() or K < 7


def test_few_cases_are_in_doubt(monkeypatch, backend_name):
    resolved = []
    plain = torch_backend.nearest_in_float64
    monkeypatch.setattr(torch_backend, "nearest_in_float64", lambda *a: resolved.append(len(a[0])) or plain(*a))
    z, weight = problem(7, 64, 1, 16, 16, 256, 12)
    for metric in METRICS:
        search_nn(z, weight, metric)
    assert sum(resolved) < 0.002 * 3 * 64 * 16


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
        return torch_backend.score(z, entries, norms, metric, torch.empty(*z.shape[:2], entries.shape[1])).amax(-1)

    only("torch", monkeypatch)
    monkeypatch.setattr(cuda_backend, "usable", lambda z: True)
    monkeypatch.setattr(cuda_backend, "run_kernel", stand_in)
    z, weight = problem(10, 6, 5, 4, 1 if shared else 4, 20, 12)
    assert_same(search_nn(z, weight, metric), reference(z, weight, metric)[0])
    assert_same(search_nn(z, list(weight), metric), reference(z, weight, metric)[0])
    assert bool(calls) == (metric != "inner")  # whose groups are compared by squared errors, entry by entry


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("B", "M", "T", "K", "d"), [(1, 5, 7, 33, 12), (40, 3, 5, 257, 33), (5, 4, 6, 40, 80)])
@pytest.mark.parametrize("kind", ["random", "trained"])
def test_the_indices_of_a_gpu_are_those_of_float64(metric, B, M, T, K, d, kind):
    z, weight = problem(1, B, M, T, T, K, d) if kind == "random" else trained(1, B, M, T, K, d, metric)
    found = search_nn(z.cuda(), weight.cuda(), metric)
    assert_same(type(found)(found.group.cpu(), found.index.cpu()), reference(z, weight, metric)[0])


@pytest.mark.gpu
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("N", "K", "d"), [(5, 100, 12), (40, 256, 12), (3, 7, 33)])
def test_the_kernel_for_cuda_finds_the_largest_scores(metric, N, K, d):
    pytest.importorskip("triton")
    z, weight = torch.randn(4, N, d, device="cuda"), torch.randn(2, 2, K, d, device="cuda")
    codebooks = PreparedCodebooks(weight, metric)
    both = range(2), slice(0, 2)
    entries, norms = codebooks.entries(*both), codebooks.norms(*both)
    plain = torch_backend.score(z, entries, norms, metric, torch.empty(4, N, K, device="cuda")).amax(-1)
    torch.testing.assert_close(cuda_backend.run_kernel(z, entries, norms, metric), plain)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [5, 80])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("S", "sizes"), [(1, None), (6, None), (6, [1, 8, 3, 8, 2, 1])])
def test_of_one_image_the_entries_are_those_of_the_search(metric, d, dtype, S, sizes):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(2, S, 8, d, generator=generator).to(dtype)
    codebooks = prepare_codebooks(weight if sizes or d == 5 else list(weight), metric, sizes)
    for group in (0, 1):
        z = torch.randn(1, 6, d, generator=generator)
        found = nearest_of_one(z, codebooks, group)
        assert torch.equal(found, search_cr(z, codebooks, torch.tensor([group]), metric).index)
        assert len(found.unique()) > 1
