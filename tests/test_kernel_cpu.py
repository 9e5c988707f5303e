"""The kernel that LLVM compiles, against torch: shapes, corrections, ties, kinds of machine, threads."""

import pytest
import torch

from stscq.quantization.search import cpu_kernel, threads
from stscq.quantization.search.cpu_backend import addresses, run_kernel
from stscq.quantization.search.cpu_kernel import Machine, this_machine
from stscq.quantization.search.prepared import Norms

METRICS = ["cosine", "euclidean", "inner"]
NATIVE = this_machine()
KINDS = [NATIVE] if NATIVE is None or NATIVE.width == 4 else [NATIVE, Machine("haswell", "", 8, 4)]
"""This machine, and a smaller one that it can play."""

pytestmark = pytest.mark.skipif(NATIVE is None, reason="products and sums are two instructions here")


@pytest.fixture(params=KINDS, ids=lambda kind: kind.cpu)
def machine(request, monkeypatch):
    monkeypatch.setattr(cpu_kernel, "this_machine", lambda: request.param)
    return request.param


def problem(b, n, lanes, K, d, metric):
    """b blocks of latents, n codebooks, which block meets which, corrections."""
    random = torch.Generator().manual_seed(0)
    z, entries = torch.randn(b, d, lanes, generator=random), torch.randn(n, K, d, generator=random)
    correction = None if metric == "inner" else torch.rand(n, 1, K, generator=random)
    latents = torch.randint(0, b, (n,), generator=random)
    return z, latents, entries, Norms(correction, torch.ones(n))


def scores(z, latents, entries, norms, metric):
    """n x lanes x K in float64."""
    products = z[latents].double().mT @ entries.double().mT
    if norms.correction is None:
        return products
    return products * norms.correction if metric == "cosine" else products - norms.correction


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("with_entry", [False, True])
@pytest.mark.parametrize(
    ("b", "n", "K", "d"), [(1, 1, 1, 1), (3, 2, 8, 12), (2, 3, 33, 7), (5, 9, 64, 80), (2, 2, 7, 256)]
)
@pytest.mark.parametrize("vectors", [0.5, 1, 2])
def test_top_scores_their_entries_and_the_next(b, n, K, d, metric, with_entry, vectors, machine):
    z, latents, entries, norms = problem(b, n, int(vectors * machine.width), K, d, metric)
    top, entry, second = run_kernel(z, latents, addresses(entries, norms), metric, with_entry)
    wanted = scores(z, latents, entries, norms, metric)
    torch.testing.assert_close(top, wanted.amax(-1).float())
    if not with_entry:
        assert entry is None
        assert second is None
        return
    assert torch.equal(entry.long(), wanted.argmax(-1))
    ordered = torch.cat([torch.full_like(wanted[..., :1], -torch.inf), wanted], -1).sort(-1).values
    torch.testing.assert_close(second, ordered[..., -2].float())


def test_of_equal_scores_the_first_is_the_entry(machine):
    z, latents, entries, norms = problem(2, 3, machine.width, 11, 6, "inner")
    found = run_kernel(z, latents, addresses(entries.repeat(1, 4, 1), norms), "inner", True)
    alone = run_kernel(z, latents, addresses(entries, norms), "inner", True)
    assert torch.equal(found.entry, alone.entry)
    assert torch.equal(found.second, found.top)


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_the_same_bits_for_every_machine_block_and_number_of_threads(metric, monkeypatch):
    z, latents, entries, norms = problem(4, 90, 16, 50, 33, metric)
    whole = run_kernel(z, latents, addresses(entries, norms), metric, True)
    monkeypatch.setattr(threads, "GRAIN", 1000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    for kind in KINDS:
        monkeypatch.setattr(cpu_kernel, "this_machine", lambda kind=kind: kind)
        parts = [
            run_kernel(part, latents, addresses(entries, norms), metric, True) for part in z.split(kind.width, dim=2)
        ]
        for a, b in zip(whole, zip(*parts, strict=True), strict=True):
            assert torch.equal(a, torch.cat(b, 1))


def test_entries_need_not_lie_together(machine):
    z, latents, entries, norms = problem(3, 6, machine.width, 10, 8, "cosine")
    apart = torch.stack([entries, entries], -1)[..., 0]
    assert not apart.is_contiguous()
    a, b = (run_kernel(z, latents, addresses(e, norms), "cosine", False).top for e in (entries, apart))
    assert torch.equal(a, b)


@pytest.mark.parametrize("wrong", ["channels", "number", "block", "lanes", "dtype", "device"])
def test_what_does_not_fit_is_refused_before_memory_is_touched(wrong, machine):
    z, latents, entries, norms = problem(2, 3, machine.width, 10, 8, "inner")
    z = z[:, :7] if wrong == "channels" else z
    z = z[..., :-1] if wrong == "lanes" else z
    latents = {"number": latents[:2], "block": latents + 2, "dtype": latents.int()}.get(wrong, latents)
    z = z.to("meta") if wrong == "device" else z
    with pytest.raises(ValueError, match=r"cannot meet|the kernel takes torch\.\w+ on the CPU"):
        run_kernel(z, latents, addresses(entries, norms), "inner", False)


def test_corrections_of_other_codebooks_or_halves_are_refused():
    _, _, entries, norms = problem(2, 3, 16, 10, 8, "cosine")
    with pytest.raises(ValueError, match="corrections of shape"):
        addresses(entries[:, :5], norms)
    with pytest.raises(ValueError, match="float16"):
        addresses(entries.half(), norms)
