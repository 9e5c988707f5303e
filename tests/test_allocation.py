"""Where bits go: sensitivities, the allocation by them, and how stage 2 starts from it."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from stscq.codec import export
from stscq.codec.api import Codec
from stscq.codec.files.inspect import describe
from stscq.data.sensitivity import Sensitivity, read_sensitivity, write_sensitivity
from stscq.errors import DataError
from stscq.quantization.allocation import allocate
from stscq.quantization.initialise import token_centres
from stscq.quantization.search import (
    on_surface,
    prepare_codebooks,
    search_nn,
)
from stscq.quantization.trained_codec import load_codec
from stscq.training import sensitivity as measured
from stscq.training import stage1_codebooks, stage2, stage3
from stscq.training.sensitivity import errors_with, sensitivity
from stscq.training.stage2 import group_centres, unequal_start
from tests.codec.conftest import pictures  # noqa: F401
from tests.search_problems import METRICS
from tests.trained import CODEBOOKS, STAGE2, STAGE3


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
