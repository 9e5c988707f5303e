"""A coverage-guided fuzzer of what reads compressed files: whatever the bytes, a typed error or an exact round trip.

    pip install atheris
    python tests/fuzz_codec.py tests/corpus -max_total_time=600

No test, and not run by `make test`; what it found stays in tests/corpus, which tests/codec/test_corpus.py reads. The
first byte of an input says how the others are taken (see `KINDS`): checksums are put right in some kinds, because no
fuzzer guesses one.
"""

import io
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # atheris runs this file as a program

from stscq.codec import archive, bitstream
from stscq.codec.api import Codec
from stscq.errors import BitstreamError


def read_file(codec, content):
    """A file of one image, as it is."""
    found = codec.parse([codec.payload_of(content)])
    assert [codec.file_of(p) for p in codec.payloads(found)] == [content], "another file says the same"
    if content[-1] % 16 == 0:
        assert codec.paint(found).dtype == np.uint8


def read_payload(codec, content):
    """A payload with a header and a checksum that fit."""
    read_file(codec, codec.file_of(content))


def read_header(codec, content):
    """A header whose checksum fits."""
    head, payload = content[:6], content[6:]
    read_file(codec, head + bitstream.crc16(head, payload).to_bytes(2, "big") + payload)


def read_archive(codec, content):
    """An archive, as it is."""
    opened = archive.Archive(io.BytesIO(content))
    bitstream.check_model(opened.model, codec.bundle.fingerprint)
    for name, payload in opened:
        archive.check_name(name)
        found = codec.parse([payload])
        assert codec.payloads(found) == [payload]


def read_index(codec, content):
    """An archive with one record, an index of any content and a checksum that fits."""
    head = archive.header(codec.bundle.fingerprint[: archive.MODEL])
    number, plain = content[0], int.from_bytes(content[1:3], "big") if content[1] else len(content) - 3
    packed = zlib.compress(content[3:])
    numbers = archive.struct.pack(">QQI", number, plain, len(packed))
    crc = zlib.crc32(head + packed + numbers).to_bytes(4, "big")
    read_archive(codec, head + archive.record(head, 0, b"") + packed + numbers + crc + archive.END)


KINDS = (read_file, read_payload, read_header, read_archive, read_index)


def try_one(codec, content):
    """One input. Raises what should not happen."""
    if len(content) < 4:
        return
    try:
        KINDS[content[0] % len(KINDS)](codec, content[1:])
    except BitstreamError:
        return


def main():
    import atheris

    from stscq.data.orl import orl_folder, read_orl
    from tests.codec.conftest import VARIANTS, make_bundle

    with tempfile.TemporaryDirectory() as folder:
        faces = np.stack([face.image for face in read_orl(orl_folder(), 32)])
        codec = Codec.load(make_bundle(Path(folder) / "bundle", faces, *VARIANTS["switchable_conv"]))
        for module in (archive, bitstream, sys.modules["stscq.codec.payload"], sys.modules["stscq.codec.entropy"]):
            for name, value in list(vars(module).items()):
                if (
                    getattr(value, "__module__", "") == module.__name__
                    and callable(value)
                    and not isinstance(value, type)
                ):
                    setattr(module, name, atheris.instrument_func(value))
        for owner in (archive.Archive, Codec):
            for name in ("__init__", "payload", "_read", "parse", "payload_of"):
                if name in vars(owner):
                    setattr(owner, name, atheris.instrument_func(vars(owner)[name]))
        atheris.Setup(sys.argv, lambda content: try_one(codec, content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
