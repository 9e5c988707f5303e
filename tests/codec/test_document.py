"""The examples of docs/bitstream.md, read from the document itself."""

import io
import re

import numpy as np

from stscq.codec.bitstream import entropy, image_file, payload
from stscq.codec.bitstream.context import POWER, Context, ImageTables
from stscq.codec.bitstream.packing import pack
from stscq.codec.bitstream.symbol_tables import TOTAL
from stscq.codec.files.archive import Archive
from tests.codec.conftest import fixed_tables
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "bitstream.md").read_text()
BLOCKS = [bytes.fromhex(block) for block in re.findall(r"(?m)(?:^    [0-9a-f]{2}(?: [0-9a-f]{2})*\n)+", TEXT)]
MODEL = bytes.fromhex("0123456789abcdef" * 4)
TABLES = np.array([[32768, 16384, 8192, 8192]] * 6)


def test_single_images():
    fixed, coded, _ = BLOCKS
    assert image_file.read(fixed, MODEL) == pack(2, np.array([5, 0, 7]), K=8, M=4)
    assert image_file.write(MODEL, image_file.read(fixed, MODEL)) == fixed
    assert pack(0, np.array([5, 0, 2]), K=[8, 1, 4], M=1) == b"\xb0"
    assert "the byte `b0`" in TEXT
    alphabet = payload.Alphabet(6, 4, 1, np.array([TOTAL]), lambda group: fixed_tables(TABLES))
    assert image_file.read(coded, MODEL) == payload.write(0, np.array([0, 0, 1, 0, 0, 0]), alphabet)
    assert payload.read(b"\x20", alphabet)[1].tolist() == [0, 0, 1, 0, 0, 0]


def test_what_is_said_of_the_coder():
    low, width = 0, 2**64 - 1
    for symbol in (0, 0, 1, 0, 0, 0):
        unit = width // 2**24
        low, width = low + unit * 256 * int(TABLES[0, :symbol].sum()), unit * 256 * int(TABLES[0, symbol])
    assert f"low is {low:#x} and width {width:#x}" in TEXT.replace("\n", " ")
    assert len(entropy.encode(0, np.array([3] * 6), np.array([TOTAL]), TABLES)) == 3
    alphabet = payload.Alphabet(6, 4, 1, np.array([TOTAL]), lambda group: fixed_tables(TABLES))
    assert payload.write(0, np.array([3] * 6), alphabet).hex(" ") == "ff f0"


def test_archive():
    opened = Archive(io.BytesIO(BLOCKS[2]))
    assert opened.model == MODEL[:10]
    assert list(opened) == [("a.png", b"\xa8\xe0"), ("b/c.png", b"\x20\0")]


def test_the_context():
    context = Context(np.full((2, 1, 1), 16384.0), np.full((2, 1, 1), 8192.0), 18)
    features = np.array([[[100], [-100]]] * 2, np.int8)
    reading = ImageTables(context, np.full((2, 2), TOTAL // 2), features)
    table = reading.tables(np.array([0, 0]))[1].tolist()
    assert f"round(2^(24 - 625/256)) = {POWER[625]}" in TEXT
    assert f"token 1 is coded with {table[0]} and {table[1]}" in TEXT
