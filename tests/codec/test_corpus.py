"""Inputs that the fuzzer started from or found (tests/corpus): a typed error, or an exact round trip."""

import pytest

from stscq.codec.api import Codec
from stscq.errors import BitstreamError
from tests.conftest import ROOT
from tests.fuzz_codec import KINDS, try_one

CORPUS = sorted((ROOT / "tests" / "corpus").iterdir())


@pytest.fixture(scope="session")
def fuzzed(bundles):
    return Codec.load(bundles["switchable_conv"])


@pytest.mark.parametrize("case", CORPUS, ids=lambda path: path.name)
def test_case(fuzzed, case):
    try_one(fuzzed, case.read_bytes())


def test_the_target_sees_what_is_wrong(fuzzed, pictures, monkeypatch):
    """Each kind lets good bytes through, and reports a reader that takes anything."""
    file = fuzzed.encode(pictures[:1])[0]
    KINDS[0](fuzzed, file)
    KINDS[1](fuzzed, file[5:])
    KINDS[2](fuzzed, file[:3] + file[5:])
    with pytest.raises(BitstreamError):
        KINDS[0](fuzzed, file[:-1])
    monkeypatch.setattr("stscq.codec.bitstream.image_file.crc16", lambda *parts: int.from_bytes(file[3:5], "big"))
    monkeypatch.setattr(fuzzed, "parse", lambda payloads: fuzzed.quantise(pictures[:1]))
    with pytest.raises(AssertionError, match="another file says the same"):
        KINDS[0](fuzzed, file[:5] + b"\0\0")
