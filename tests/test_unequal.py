"""Codebooks of unequal size: search, bytes, allocation."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stscq.bits import payload_bits
from stscq.codec import export
from stscq.codec.api import Codec
from stscq.codec.bitstream import payload
from stscq.codec.bitstream.context import Context, ImageTables, no_context
from stscq.codec.bitstream.entropy import SymbolDecoder, read_tokens
from stscq.codec.bitstream.packing import pack, unpack
from stscq.codec.bitstream.symbol_tables import TOTAL, fit, uniform
from stscq.codec.files.inspect import describe
from stscq.data.sensitivity import Sensitivity, read_sensitivity, write_sensitivity
from stscq.errors import DataError, StscqError
from stscq.quantization.allocation import allocate
from stscq.quantization.codebooks import Codebooks
from stscq.quantization.index_propagation import entry_entropy_loss
from stscq.quantization.initialise import token_centres
from stscq.quantization.revival import Revival
from stscq.quantization.search import (
    Assignment,
    UnequalCodebooks,
    group_errors,
    measured_cr,
    measured_nn,
    on_surface,
    prepare_codebooks,
    search_cr,
    search_nn,
)
from stscq.quantization.search.reference import exact_distance
from stscq.quantization.trained_codec import load_codec
from stscq.training import sensitivity as measured
from stscq.training import stage1_codebooks, stage2, stage3
from stscq.training.sensitivity import errors_with, sensitivity
from stscq.training.stage2 import group_centres, unequal_start
from tests.codec.conftest import pictures  # noqa: F401
from tests.search_problems import METRICS, assert_same, trained
from tests.trained import CODEBOOKS, STAGE2, STAGE3

SIZES = [1, 8, 2, 8, 4, 16, 16, 2, 1]


def by_hand(z_e, weight, entries, metric):
    """NN as defined: the assignment, and the mean distances (B x M), in float64 and token by token.

    For inner products groups are compared by the squared distances of the chosen entries.
    """
    least, index = zip(
        *(exact_distance(z_e[:, None, j, None], weight[None, :, j, :K], metric).min(-1) for j, K in enumerate(entries)),
        strict=True,
    )  # T of B x M
    if metric == "inner":
        squares = [
            exact_distance(z_e[:, None, j, None], weight[None, :, j, :K], "euclidean") for j, K in enumerate(entries)
        ]
        least = [s.gather(-1, i[..., None])[..., 0] for s, i in zip(squares, index, strict=True)]
    errors = torch.stack(least).mean(0)
    group = errors.argmin(1)
    return Assignment(group, torch.stack(index, -1)[torch.arange(len(group)), group]), errors


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("M", [1, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_search_is_the_definition_in_float64(metric, M, seed):
    z_e, weight = trained(seed, 40, M, len(SIZES), 16, 6, metric)
    unequal = UnequalCodebooks(weight, metric, SIZES)
    wanted, errors = by_hand(z_e, weight, SIZES, metric)
    measured = measured_nn(z_e, unequal, metric)
    assert_same(measured.assignment, wanted)
    assert_same(search_nn(z_e, unequal, metric), wanted)
    assert torch.allclose(group_errors(z_e, unequal, metric), errors.float(), atol=1e-5)
    if M > 1:
        assert torch.allclose(measured.errors, errors.float(), atol=1e-5)
    assert_same(search_cr(z_e, unequal, wanted.group, metric), wanted)
    assert (measured.assignment.index < torch.tensor(SIZES)).all()


def test_groups_that_float32_confuses_are_told_apart():
    """Two groups that are copies but for one entry of one token, 1e-9 nearer in the second."""
    random = torch.Generator().manual_seed(1)
    weight = torch.randn(1, len(SIZES), 16, 4, generator=random).repeat(2, 1, 1, 1)
    z_e = weight[:1, :, 0] + 0.1
    weight[1, 3, 0] += torch.tensor([1e-7, 0, 0, 0])
    unequal = UnequalCodebooks(weight, "euclidean", SIZES)
    wanted, errors = by_hand(z_e, weight, SIZES, "euclidean")
    assert errors[0, 0] != errors[0, 1]
    assert_same(search_nn(z_e, unequal, "euclidean"), wanted)


def test_gaps_are_infinite_where_there_is_one_entry_and_reach_is_that_of_entries():
    z_e, weight = trained(0, 7, 1, len(SIZES), 16, 6, "euclidean")
    weight[0, 0, 1:] = 100  # padding: no entries
    unequal = UnequalCodebooks(weight, "euclidean", SIZES)
    measured = measured_cr(z_e, unequal, torch.zeros(7, dtype=torch.int64), "euclidean")
    assert measured.gaps[:, [0, 8]].isinf().all()
    assert measured.gaps[:, 1].isfinite().all()
    longest = torch.stack([weight[0, j, :K].norm(dim=-1).max() for j, K in enumerate(SIZES)])
    assert torch.allclose(unequal.reach[0], longest)


@pytest.mark.parametrize("entries", [[1, 2], [0, 1, 1], [1, 1, 32]])
def test_wrong_numbers_of_entries_are_refused(entries):
    with pytest.raises(ValueError, match="a number from 1 to 16 for each of 3 tokens"):
        UnequalCodebooks(torch.zeros(1, 3, 16, 2), "euclidean", entries)


@pytest.mark.parametrize("metric", METRICS)
def test_training_reaches_entries_and_never_what_is_behind_them(metric):
    z_e, weight = trained(3, 20, 1, len(SIZES), 16, 6, metric)
    codebooks = Codebooks(weight, metric, entries=SIZES)
    quantised = codebooks(z_e.requires_grad_(True))
    quantised.z_q.square().sum().backward(retain_graph=True)
    behind = torch.arange(16) >= torch.tensor(SIZES)[:, None]
    assert (codebooks.weight.grad[:, behind] == 0).all()
    assert codebooks.weight.grad.abs().sum() > 0
    if quantised.propagation is not None:
        assert (quantised.propagation.logits[:, behind] < -1e5).all()
        entropy = entry_entropy_loss(quantised.propagation.logits)
        assert entropy.isfinite()
        (gradient,) = torch.autograd.grad(entropy, codebooks.weight)
        assert gradient.isfinite().all()
        assert (gradient[:, behind] == 0).all()
    before = codebooks.weight.detach().clone()
    revival = Revival(codebooks, len(SIZES))
    for _ in range(20):
        revival.record(quantised.assignment, z_e.detach() + torch.rand(()))
    assert revival.revive(codebooks, torch.Generator().manual_seed(0)) > 0
    assert torch.equal(codebooks.weight[:, behind], before[:, behind])


sizes = st.lists(st.integers(0, 6).map(lambda bits: 2**bits), min_size=1, max_size=20)


@given(st.data(), sizes, st.integers(0, 5))
def test_fixed_length_comes_back(data, K, log_M):
    M = 2**log_M
    group = data.draw(st.integers(0, M - 1))
    index = np.array([data.draw(st.integers(0, size - 1)) for size in K])
    written = pack(group, index, K, M)
    assert len(written) == -(-(sum(size.bit_length() - 1 for size in K) + log_M) // 8)
    back = unpack(written, len(K), K, M)
    assert back[0] == group
    assert (back[1] == index).all()


def test_one_size_for_all_is_packed_as_ever():
    index = np.array([5, 0, 7])
    assert pack(2, index, [8, 8, 8], 4) == pack(2, index, 8, 4) == bytes([0xA8, 0xE0])
    assert payload_bits(3, [8, 1, 2], 4) == 3 + 0 + 1 + 2
    with pytest.raises(StscqError, match="K = 3 is no power of two"):
        payload_bits(2, [2, 3], 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), sizes)
def test_coded_payloads_come_back(seed, K):
    """Tables fitted on skewed symbols; the decoder sees tables without padding, the encoder with it."""
    random = np.random.default_rng(seed)
    N, T, M = 60, len(K), 2
    group = random.integers(M, size=N)
    index = (random.random((N, T)) ** 3 * K).astype(np.int64)
    tables = fit(group, index, np.arange(N) // 4, M, max(K), K).tables
    has = np.arange(max(K)) < np.array(K)[:, None]
    assert (tables.tokens.sum(-1) == TOTAL).all()
    assert (tables.tokens[:, has] >= 1).all()
    assert (tables.tokens[:, ~has] == 0).all()
    images = {g: ImageTables(no_context(T), tables.tokens[g], np.zeros((T, max(K), 0), np.int8)) for g in range(M)}
    alphabet = payload.Alphabet(
        T, K, M, tables.group, lambda g: ImageTables(no_context(T), images[g].base, images[g].features)
    )
    written = [payload.write(int(g), i, alphabet) for g, i in zip(group, index, strict=True)]
    assert max(map(len, written)) <= alphabet.fixed_bytes
    groups, indices = payload.read_all(written, alphabet)
    assert (groups == group).all()
    assert (indices == index).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), sizes)
def test_the_context_tilts_towards_entries_alone(seed, K):
    """Tables that follow the tokens before: none has a share behind its last entry, and payloads come back."""
    random = np.random.default_rng(seed)
    T, f, r = len(K), 3, 4
    has = np.arange(max(K)) < np.array(K)[:, None]
    base = uniform(1, T, max(K), K).tokens[0]
    read, write = random.integers(-3000, 3000, (T, f, r)), random.integers(-300, 300, (T, r, f))
    context = Context(read.astype(float), write.astype(float), 8)
    features = random.integers(-127, 128, (T, max(K), f)).astype(np.int8)  # behind the last entry too
    index = (random.random(T) * K).astype(np.int64)
    tables = ImageTables(context, base, features).tables(index)
    assert (tables.sum(1) == TOTAL).all()
    assert (tables[~has] == 0).all()
    assert (tables[has] >= 1).all()
    alphabet = payload.Alphabet(T, K, 1, np.array([TOTAL]), lambda group: ImageTables(context, base, features))
    written = [payload.coded(0, index, alphabet), payload.write(0, index, alphabet)]
    assert (payload.read(written[1], alphabet)[1] == index).all()
    decoder = SymbolDecoder(written[0])
    assert (read_tokens([decoder], ImageTables(context, base, features), T)[0] == index).all()


def test_tables_of_equal_sizes_do_not_depend_on_how_they_are_said():
    random = np.random.default_rng(0)
    group, index = random.integers(2, size=80), random.integers(8, size=(80, 5))
    said, unsaid = (fit(group, index, np.arange(80) // 5, 2, 8, K).tables for K in ([8] * 5, None))
    assert all((a == b).all() for a, b in zip(said, unsaid, strict=True))
    assert (uniform(1, 2, 4, [1, 4]).tokens == [[[TOTAL, 0, 0, 0], [TOTAL // 4] * 4]]).all()


class Linear:
    """A tokenizer and a recogniser whose Jacobian is known: the embedding is A z, flattened, and then of length 1."""

    metric = "euclidean"

    def __init__(self, A: Tensor, offset: Tensor):
        self.A, self.offset = A, offset

    def decode(self, z):
        return z.flatten(1)

    def prepare(self, images):
        return images

    def maps_and_embedding(self, x):
        return [], x @ self.A + self.offset


def test_sensitivity_is_the_squared_jacobian(monkeypatch):
    """The embedding is nearly constant, so that its normalisation projects on the plane across it."""
    random = torch.Generator().manual_seed(0)
    T, d, E = 3, 4, 64
    A = torch.randn(T, d, E, generator=random) * torch.tensor([1.0, 3.0, 0.5])[:, None, None]
    offset = torch.zeros(E)
    offset[0] = 1000.0
    linear = Linear(A.flatten(0, 1), offset)
    monkeypatch.setattr("stscq.training.sensitivity.DIRECTIONS", 40)
    w = sensitivity(linear, linear, torch.randn(64, T, d, generator=random) * 0.1, seed=1)
    jacobian = A[..., 1:].square().sum((1, 2))
    assert torch.allclose(w, jacobian / jacobian.mean(), rtol=0.05)


def test_bits_go_where_the_weighted_error_falls_most():
    D = {1: [8.0, 8.0, 1.0, 0.5], 2: [4.0, 4.0, 0.95, 0.4], 4: [2.0, 3.95, 0.9, 0.3]}
    equal = [1.0] * 4
    assert allocate(D, equal, 1.0, 4, M=1) == [4, 2, 1, 2]  # 4, 4, 2 and 0.1
    assert allocate(D, [0.01, 1.0, 1.0, 1.0], 1.0, 4, M=1) == [1, 2, 2, 4]
    assert allocate(D, [0.01, 1.0, 1.0, 1.0], 0.0, 4, M=1) == allocate(D, equal, 1.0, 4, M=1)  # by error alone
    assert allocate(D, equal, 1.0, 8, M=1) == [4, 4, 4, 4]
    assert allocate(D, equal, 1.0, 5, M=1) == [4, 2, 1, 4]
    assert allocate(D, equal, 1.0, 1, M=1) == [2, 1, 1, 1]
    assert allocate(D, equal, 1.0, 4, M=2) == [2, 2, 2, 2]  # half of the latents each: no codebook of 4 entries
    for bits, M, largest in ((9, 1, 4), (5, 2, 2), (1, 8, 1)):
        words = rf"{bits} bits are more than 4 tokens of {largest} entries take \(M = {M}\)"
        with pytest.raises(ValueError, match=words):
            allocate(D, equal, 1.0, bits, M)


def test_each_group_starts_on_the_latents_that_chose_it():
    random = torch.Generator().manual_seed(0)
    group = torch.tensor([0, 2] * 40 + [1] * 15)
    z = 0.1 * torch.randn(len(group), 2, 3, generator=random) + group[:, None, None]
    start = group_centres(z, group, 4, [4, 1], seed=1)
    assert start.shape == (4, 2, 4, 3)
    assert (start[0, 0] - 0).abs().max() < 0.5
    assert (start[2, 0] - 2).abs().max() < 0.5
    assert torch.allclose(start[2, 1, 0], z[group == 2, 1].mean(0), atol=1e-5)
    # Fifteen images are too few for four centres, and none chose the last: both start on all, and not alike.
    assert start[1, 0].min() < 0.5 < 1.5 < start[1, 0].max()
    assert not torch.equal(start[1, 0], start[3, 0])


def test_groups_that_no_image_chose_start_apart():
    """Or the nearest would always be of the first of them."""
    z = torch.randn(400, 3, 4, generator=torch.Generator().manual_seed(0))
    for metric in METRICS:
        latents = on_surface(z, metric)
        start = group_centres(latents, torch.zeros(400, dtype=torch.int64), 4, [8, 4, 2], seed=1)
        chosen = search_nn(latents, prepare_codebooks(start, metric, [8, 4, 2]), metric).group
        assert chosen.bincount(minlength=4).min() > 20, metric


def test_centres_of_each_token_and_the_errors_that_they_leave():
    random = torch.Generator().manual_seed(0)
    z = torch.randn(300, 3, 2, generator=random)
    z[:, 1] = torch.sign(z[:, 1])  # four points
    centres = token_centres(z, [1, 4, 8], seed=1)
    assert centres.shape == (3, 8, 2)
    assert torch.allclose(centres[0, 0], z[:, 0].mean(0), atol=1e-5)
    assert (centres[0, 1:] == 0).all()
    errors = [errors_with(z, K, seed=1) for K in (1, 4, 16)]
    assert (errors[0] > errors[1]).all()
    assert (errors[1][[0, 2]] > errors[2][[0, 2]]).all()
    assert torch.allclose(errors[0][0], z[:, 0].var(0, correction=0).sum(), atol=1e-4)


def test_sensitivities_come_back_and_anything_else_is_refused(tmp_path):
    wanted = Sensitivity([0.5, 1.0, 1.5], {1: [1.0, 2.0, 3.0], 2: [0.5, 1.0, 1.5]})
    write_sensitivity(wanted, tmp_path)
    file = tmp_path / "sensitivity.json"
    assert read_sensitivity(file, 3) == wanted
    with pytest.raises(DataError, match=r"sensitivity.json: wanted are a sensitivity and errors"):
        read_sensitivity(file, 4)
    for change in ({"w": [1, 1]}, {"w": [1, -1, 1]}, {"errors": {"1": [1, 1, 1], "4": [1, 1, 1]}}):
        file.write_text(json.dumps({**wanted._asdict(), **change}))
        with pytest.raises(DataError, match=r"sensitivity.json: wanted are"):
            read_sensitivity(file, 3)
    file.write_text("{")
    with pytest.raises(DataError, match=r"sensitivity.json: no sensitivities to read"):
        read_sensitivity(file)


def allocated(places, kept, tuned, out, bits, **selection):
    """The programs: sensitivity, stages 1 to 3, export. Returns the codec and the entries that were to be had."""
    data = {name: places[name] for name in ("store", "split")}
    measured.main(**data, start=tuned, latents=kept, recogniser=places["recogniser"], out=out, seed=1)
    w, errors = read_sensitivity(out / "sensitivity.json")
    one = {**CODEBOOKS, "entries": 2, **selection}
    stage1_codebooks.main(**data, latents=kept, start=tuned, out=out / "one", **one)
    two = {**data, "latents": kept, "start": out / "one", **STAGE2}
    stage2.main(**two, sensitivity=out / "sensitivity.json", power=1.0, bits=bits, out=out / "two")
    stage3.main(**places, start=out / "two", out=out / "three", **STAGE3)
    export.main(places["store"], places["split"], out / "three", out / "bundle", latents=kept)
    return Codec.load(out / "bundle"), allocate(errors, w, 1.0, bits or len(w), selection["groups"])


def comes_back(codec, entries, pictures):  # noqa: F811
    """Files of a codec come back, and take the bits that were to be had."""
    assert codec.bundle.sizes.entries == entries
    assignment = codec.quantise(pictures)
    assert (assignment.index < torch.tensor(entries)).all()
    files = codec.encode(pictures)
    bits = sum(K.bit_length() - 1 for K in entries) + (codec.bundle.sizes.M - 1).bit_length()
    assert max(map(len, files)) <= 5 + -(-bits // 8)
    assert (codec.decode(files) == codec.reconstruct(assignment)).all()
    return assignment


def test_several_groups_have_one_allocation(places, kept, tuned, pictures, tmp_path):  # noqa: F811
    codec, entries = allocated(places, kept, tuned, tmp_path, 61, groups=2, selection="router")
    assert sum(K.bit_length() - 1 for K in entries) == 61
    assert len(set(entries)) > 1
    assert codec.bundle.sizes.M == 2
    trained, _ = load_codec(tmp_path / "two", torch.device("cpu"))
    assert trained.codebooks.entries == entries
    comes_back(codec, entries, pictures[:20])


@pytest.mark.parametrize("selection", ["router", "nn"])
def test_groups_start_by_their_own_latents_and_an_mth_of_the_entries(places, kept, tuned, tmp_path, selection):
    data = {name: places[name] for name in ("store", "split")}
    one = {**CODEBOOKS, "groups": 2, "entries": 2, "selection": selection}
    stage1_codebooks.main(**data, latents=kept, start=tuned, out=tmp_path / "one", **one)
    z_e = torch.from_numpy(np.load(kept)).flatten(0, 1)
    sizes = {K: [1.0 / K] * 63 + [100.0 / K] for K in (1, 2, 4, 8)}  # one token would take all that it may
    write_sensitivity(Sensitivity([1.0] * 64, sizes), tmp_path)
    before, _ = load_codec(tmp_path / "one", torch.device("cpu"))
    file = tmp_path / "sensitivity.json"
    start, entries = unequal_start(before, file, 1.0, 10, kept, np.load(kept).shape[1], seed=1)
    assert max(entries) == entries[-1] == 4  # half of the 8 that all latents would teach
    assert sum(K.bit_length() - 1 for K in entries) == 10
    logits = None if before.router is None else before.router(z_e)
    group = before.codebooks.search(z_e).group if logits is None else logits.argmax(1)
    assert torch.equal(start, group_centres(on_surface(z_e, "euclidean"), group, 2, entries, seed=1))
    assert not torch.equal(start[0], start[1])


def test_from_an_allocation_to_a_bundle(places, kept, tuned, pictures, tmp_path):  # noqa: F811
    codec, entries = allocated(places, kept, tuned, tmp_path, None, groups=1, selection="nn")
    assert sum(K.bit_length() - 1 for K in entries) == len(entries)  # one bit a token, as 2 entries have
    assert len(set(entries)) > 1
    comes_back(codec, entries, pictures[:20])
    (tmp_path / "a.stscq").write_bytes(codec.encode(pictures[:1])[0])
    told = describe(str(tmp_path / "a.stscq"), tmp_path / "bundle")
    assert told["symbols"] == f"64 tokens of {min(entries)} to {max(entries)} entries, 1 groups"
    assert told["fixed-length payload bytes"] == 8


def test_what_unequal_codebooks_need(places, kept, tuned, tmp_path):
    data = {name: places[name] for name in ("store", "split")}
    measured.main(**data, start=tuned, latents=kept, recogniser=places["recogniser"], out=tmp_path, seed=1)
    w, errors = read_sensitivity(tmp_path / "sensitivity.json")
    one = {**CODEBOOKS, "groups": 1, "entries": 2, "selection": "nn"}
    stage1_codebooks.main(**data, latents=kept, start=tuned, out=tmp_path / "one", **one)
    two = {**data, "latents": kept, "start": tmp_path / "one", **STAGE2}
    with pytest.raises(DataError, match=r"sensitivity.json: codebooks of unequal size need --latents"):
        stage2.main(**{**two, "latents": None}, sensitivity=tmp_path / "sensitivity.json", out=tmp_path / "without")
    with pytest.raises(DataError, match="--power and --bits say how entries are allocated by --sensitivity"):
        stage2.main(**two, bits=3, out=tmp_path / "without")
    with pytest.raises(DataError, match=r"sensitivity.json: one codebook for all tokens has no entries to allocate"):
        stage2.main(**{**two, "shared": True}, sensitivity=tmp_path / "sensitivity.json", out=tmp_path / "without")
    write_sensitivity(Sensitivity(w, {1: errors[1]}), tmp_path)
    with pytest.raises(DataError, match=r"sensitivity.json: 64 bits are more .*; ask for fewer .* or keep more copies"):
        stage2.main(**two, sensitivity=tmp_path / "sensitivity.json", out=tmp_path / "few")
