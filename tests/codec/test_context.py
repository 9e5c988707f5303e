"""Tables that follow the tokens before: integers, the same forwards and backwards, and worth it for unseen people."""

import json
import shutil
from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from stscq.checkpoint import save_tensors
from stscq.codec.api import Codec
from stscq.codec.bitstream import payload
from stscq.codec.bitstream.context import LOG2, MOST_SCORE, POWER, STEPS, Context, ImageTables, no_context, tilt
from stscq.codec.bitstream.entropy import DamagedPayloadError
from stscq.codec.bitstream.fit_context import TrainingSymbols, fit_context, token_bits
from stscq.codec.bitstream.symbol_tables import TOTAL, fit, integers
from stscq.codec.bundle.description import fingerprint_of, seal
from stscq.codec.bundle.read import Bundle
from stscq.errors import BitstreamError, BundleError
from tests.codec.conftest import change_json


@st.composite
def readings(draw):
    """Any context that a bundle may hold, with any features."""
    T, f, r = (draw(st.integers(1, most)) for most in (12, 4, 5))
    K = 2 ** draw(st.integers(0, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.sampled_from([10, 1000, 2**15 - 1]))
    read, write = (random.integers(-size, size + 1, shape).astype(float) for shape in ((T, f, r), (T, r, f)))
    base = integers(random.dirichlet(np.full(K, draw(st.sampled_from([0.05, 1.0]))), T))
    features = random.integers(-128, 128, (T, K, f)).astype(np.int8)
    context = Context(read, write, draw(st.integers(0, 40)))
    return (lambda: ImageTables(context, base, features)), random.integers(0, K, T), (context, base, features)


def in_whole_numbers(context, base, features, index):
    """The arithmetic of docs/bitstream.md in Python's integers."""
    T, K = base.shape
    total, rows = [0] * context.read.shape[2], []
    for t in range(T):
        state = [max(-32767, min(32767, s >> 14)) for s in total]
        write, read = context.write[t].astype(int).tolist(), context.read[t].astype(int).tolist()
        towards = [sum(s * row[i] for s, row in zip(state, write, strict=True)) for i in range(len(read))]
        scores = [
            sum(int(a) * b for a, b in zip(features[t, k], towards, strict=True)) >> context.shift for k in range(K)
        ]
        levels = [int(LOG2[base[t, k] - 1]) + max(-8192, min(8192, scores[k])) for k in range(K)]
        most = max(levels)
        weights = [int(POWER[most - level]) if most - level < len(POWER) else 0 for level in levels]
        row = [1 + w * (TOTAL - K) // sum(weights) for w in weights]
        row[levels.index(most)] += TOTAL - sum(row)
        rows.append(row)
        total = [s + sum(int(a) * line[j] for a, line in zip(features[t, index[t]], read, strict=True))
                 for j, s in enumerate(total)]  # fmt: skip
    return rows


@settings(max_examples=150, deadline=None)
@given(readings())
def test_tables_are_the_documented_arithmetic(problem):
    start, index, parts = problem
    tables = start().tables(index)
    assert tables.tolist() == in_whole_numbers(*parts, index)
    assert (tables.sum(1) == TOTAL).all()
    assert tables.min() >= 1
    reading = start()
    for token, entry in enumerate(index):
        assert (reading.next_tables()[0] == tables[token]).all()
        reading.advance(np.array([entry]))


@settings(max_examples=150, deadline=None)
@given(readings(), st.binary(max_size=12))
def test_payloads_come_back(problem, content):
    start, index, (_, base, _) = problem
    T, K = base.shape
    alphabet = payload.Alphabet(T, K, 2, np.array([TOTAL - 9, 9]), lambda group: start())
    for group in (0, 1):
        written = payload.write(group, index, alphabet)
        assert len(written) <= alphabet.fixed_bytes
        found = payload.read(written, alphabet)
        assert found[0] == group
        assert (found[1] == index).all()
    try:
        found = payload.read(content, alphabet)
    except BitstreamError:
        return
    assert payload.write(*found, alphabet) == content


@settings(max_examples=100, deadline=None)
@given(readings(), st.integers(0, 2**32), st.integers(2, 9), st.integers(1, 64))
def test_many_payloads_are_read_as_each_alone(problem, seed, N, together):
    start, _, (_, base, _) = problem
    T, K = base.shape
    random = np.random.default_rng(seed)
    alphabet = payload.Alphabet(T, K, 2, np.array([TOTAL - 9, 9]), lambda group: start())
    symbols = [(int(random.integers(2)), random.integers(0, K, T)) for _ in range(N)]
    symbols[0] = (0, base.argmax(1))  # a likely image, whose payload is coded; most others are fixed-length
    written = [payload.write(*one, alphabet) for one in symbols]
    before, payload.TOGETHER = payload.TOGETHER, together  # also in several pieces
    try:
        group, index = payload.read_all(written, alphabet)
        assert group.tolist() == [g for g, _ in symbols]
        assert (index == np.stack([i for _, i in symbols])).all()
        broken = int(random.integers(N))
        longer = [*written[:broken], bytes(alphabet.fixed_bytes + 1), *written[broken + 1 :]]
        with pytest.raises(DamagedPayloadError) as problem:
            payload.read_all(longer, alphabet)
        assert problem.value.number == broken
    finally:
        payload.TOGETHER = before


def test_rounded_functions_are_the_same_on_every_machine():
    """With 40 digits, and far from where rounding turns: no library's last bit matters."""
    getcontext().prec = 40
    two = Decimal(2).ln()
    for values, of in ((LOG2[::97], lambda i: STEPS * Decimal(1 + 97 * i).ln() / two),
                       (POWER, lambda i: Decimal(2) ** (24 - Decimal(i) / STEPS))):  # fmt: skip
        for i, value in enumerate(values.tolist()):
            exact = of(i)
            assert value == int(exact.to_integral_value())
            assert abs(abs(exact - value) - Decimal("0.5")) > Decimal("1e-7")
    assert len(LOG2) == TOTAL
    assert (np.abs(np.abs(STEPS * np.log2(np.arange(1, TOTAL + 1)) - LOG2) - 0.5) > 1e-7).all()


def test_tilting_by_hand():
    # Twice as likely as three equals: shares 2/5, 1/5, 1/5, 1/5 of 65532, rounded down, plus 1; the first
    # takes what is left.
    base = integers(np.full((1, 4), 0.25))
    assert tilt(base, np.array([[STEPS, 0, 0, 0]])).tolist() == [[TOTAL - 3 * 13107, 13107, 13107, 13107]]
    assert tilt(base, np.array([[MOST_SCORE, 0, 0, 0]])).tolist() == [[TOTAL - 3, 1, 1, 1]]
    assert tilt(base, np.zeros((1, 4), int)).tolist() == base.tolist()


def chains(people, seed, codebooks):
    """Each token is near the one before; people differ in where they begin. Two groups, 8 tokens, 16 entries."""
    random = np.random.default_rng(seed)
    group = np.repeat(random.integers(2, size=people), 4)
    z, index = np.repeat(random.normal(size=(people, 3)), 4, 0), []
    for t in range(8):
        near = ((codebooks[group, t] - z[:, None] - 0.1 * random.normal(size=(len(z), 1, 3))) ** 2).sum(-1).argmin(1)
        z = codebooks[group, t, near]
        index.append(near)
    return TrainingSymbols(group, np.stack(index, 1), np.repeat(np.arange(people), 4))


def test_it_pays_off_on_unseen_people_and_is_silent_where_nothing_is_to_be_known():
    codebooks = np.random.default_rng(0).normal(size=(2, 8, 16, 3))
    training, unseen = chains(60, 1, codebooks), chains(60, 2, codebooks)
    tables = fit(*training, 2, 16).tables
    found = fit_context(training, lambda group: codebooks[group], 2, 16)
    baseline = token_bits(no_context(8), lambda group: np.zeros((8, 16, 0), np.int8), unseen, tables)
    tilted = token_bits(found.context, lambda group: found.basis.features(codebooks[group]), unseen, tables)
    assert tilted < 0.85 * baseline
    assert found.bits < 0.85 * found.baseline_bits

    random = np.random.default_rng(3)
    chance = TrainingSymbols(np.zeros(200, int), random.integers(0, 16, (200, 8)), np.arange(200) // 4)
    assert fit_context(chance, lambda group: codebooks[group], 1, 16).bits > 0.99 * 8 * 4
    alike = chance._replace(index=np.zeros((200, 8), int))
    assert fit_context(alike, lambda group: codebooks[group], 1, 16).basis is None
    for images in (1, 3):  # of one person
        alone = chance.take(np.arange(images))._replace(identity=np.zeros(images))
        assert np.isfinite(fit_context(alone, lambda group: codebooks[group], 1, 16).bits)


def test_coded_payloads_are_shorter_with_it(bundles, pictures):
    """Of untrained models, whose few symbols say little: all together."""
    with_it = without = 0
    for folder in bundles.values():
        codec = Codec.load(folder)
        assigned = codec.quantise(pictures[300:])
        with_it += codec.sizes(assigned).coded.sum()
        codec.bundle.context = no_context(codec.bundle.sizes.T)
        codec.bundle.features.cache_clear()
        without += codec.sizes(assigned).coded.sum()
    assert with_it < 0.97 * without


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shift": np.array([41], np.int16)}, "no context of this model"),
        ({"read": np.zeros((8, 3), np.int16)}, "no context of this model"),
        ({"read": np.zeros((), np.int16)}, "no context of this model"),
        ({"write": np.zeros((8, 32, 7), np.int16)}, "no context of this model"),
        ({"read": np.zeros((8, 6, 65), np.int16), "write": np.zeros((8, 65, 6), np.int16)}, "no context of this model"),
        ({"read": np.zeros((8, 6, 4)), "write": np.zeros((8, 4, 6))}, "no context of this model"),
        ({"group.00001": np.zeros((8, 8, 5), np.int8)}, "features of group 1"),
        ({"group.00001": np.zeros((8, 8, 6), np.int16)}, "features of group 1"),
    ],
)
def test_a_context_that_does_not_fit_is_refused(bundles, tmp_path, changes, words):
    shutil.copytree(bundles["switchable"], tmp_path / "b")
    file = tmp_path / "b" / "context.safetensors"
    save_tensors({**load_file(file), **{name: torch.from_numpy(value) for name, value in changes.items()}}, file)
    said = json.loads((tmp_path / "b" / "bundle.json").read_text())
    said["files"]["context.safetensors"] = seal(tmp_path / "b", "context")
    change_json(tmp_path / "b" / "bundle.json", files=said["files"], fingerprint=fingerprint_of(said))
    with pytest.raises(BundleError, match=words):
        Bundle(tmp_path / "b").image_tables(1)
