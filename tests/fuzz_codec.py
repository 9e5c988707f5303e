"""A coverage-guided fuzzer of what reads compressed files: whatever the bytes, a typed error or an exact round trip.

    pip install atheris
    python tests/fuzz_codec.py tests/corpus -max_total_time=600

No test, and not run by `make test`; what it found stays in tests/corpus, which tests/codec/test_corpus.py reads. The
first byte of an input says how the others are taken (see `KINDS`): checksums are put right in some kinds, because no
fuzzer guesses one.
"""

import io
import json
import sys
import tempfile
import zlib
from pathlib import Path
from types import FunctionType

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # atheris runs this file as a program

from stscq.codec.api import Codec
from stscq.codec.bitstream import context, entropy, image_file, payload
from stscq.codec.bundle import description, read
from stscq.codec.files import archive
from stscq.errors import BitstreamError, BundleError


def read_file(codec, content):
    """A file of one image, as it is."""
    found = codec.parse([codec.payload_of(content)])
    assert [codec.file_of(p) for p in codec.payloads(found)] == [content], "another file says the same"
    if content[-1] % 16 == 0:
        assert codec.reconstruct(found).dtype == np.uint8


def read_payload(codec, content):
    """A payload with a header and a checksum that fit."""
    read_file(codec, codec.file_of(content))


def read_header(codec, content):
    """A header whose checksum fits."""
    check = image_file.crc16(codec.bundle.fingerprint, content).to_bytes(2, "big")
    read_file(codec, content[:3] + check + content[3:])


def read_archive(codec, content):
    """An archive, as it is."""
    opened = archive.Archive(io.BytesIO(content))
    image_file.check_model(opened.model, codec.bundle.fingerprint)
    for name, content in opened:
        archive.check_name(name)
        assert codec.payloads(codec.parse([content])) == [content]


def read_index(codec, content):
    """An archive with one record, an index of any content and a checksum that fits."""
    head = archive.header(codec.bundle.fingerprint[: archive.MODEL])
    number, plain = content[0], int.from_bytes(content[1:3], "big") if content[1] else len(content) - 3
    packed = zlib.compress(content[3:])
    numbers = archive.struct.pack(">QQI", number, plain, len(packed))
    crc = zlib.crc32(head + packed + numbers).to_bytes(4, "big")
    read_archive(codec, head + archive.record(head, 0, b"") + packed + numbers + crc + archive.END)


def read_record(codec, content):
    """An archive of one image, with any payload."""
    head = archive.header(codec.bundle.fingerprint[: archive.MODEL])
    read_archive(codec, head + archive.record(head, 0, content) + archive.tail(head, ["a"], [len(content)]))


def read_description(codec, content):
    """A model bundle, of which one thing in bundle.json is any JSON, with a fingerprint that fits."""
    said = dict(codec.bundle.description)
    inner = dict(said["model"])
    key = [*said, *inner][content[0] % (len(said) + len(inner))]
    try:
        value = json.loads(content[1:])
    except (ValueError, RecursionError):
        return
    if content[0] % (len(said) + len(inner)) < len(said):
        said[key] = value
    else:
        said["model"] = {**inner, key: value}
    said["fingerprint"] = description.fingerprint_of(said)
    with tempfile.TemporaryDirectory() as folder:
        for file in codec.bundle.folder.glob("*.safetensors"):
            (Path(folder) / file.name).symlink_to(file)
        (Path(folder) / "bundle.json").write_text(json.dumps(said))
        opened = Codec.load(folder)
        assert opened.encoder.T == opened.bundle.sizes.T
        size = opened.bundle.sizes.image_size
        opened.decode(opened.encode(np.zeros((1, size, size, 3), np.uint8)))


KINDS = (read_file, read_payload, read_header, read_archive, read_index, read_record, read_description)


def try_one(codec, content):
    """One input. Raises what should not happen."""
    if len(content) < 4:
        return
    try:
        KINDS[content[0] % len(KINDS)](codec, content[1:])
    except (BitstreamError, BundleError):
        return


MODULES = (archive, image_file, read, context, description, entropy, payload)


def instrument(module, instrumented):
    """Its functions, and the methods of its classes."""
    for owner in (module, *(value for value in vars(module).values() if isinstance(value, type))):
        for name, value in list(vars(owner).items()):
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                setattr(owner, name, instrumented(value))


def main():
    import atheris

    from stscq.data.orl import orl_folder, read_orl
    from tests.codec.conftest import VARIANTS, make_bundle

    with tempfile.TemporaryDirectory() as folder:
        faces = np.stack([face.image for face in read_orl(orl_folder(), 32)])
        codec = Codec.load(make_bundle(Path(folder) / "bundle", faces, *VARIANTS["switchable_conv"]))
        for module in MODULES:
            instrument(module, atheris.instrument_func)
        atheris.Setup(sys.argv, lambda content: try_one(codec, content))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
