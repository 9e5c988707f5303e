"""Bundles: what was exported is what is opened; every damage is named; the rule's module makes one of a checkpoint."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stscq.codec import export, ship
from stscq.codec.api import Codec
from stscq.codec.bundle.read import Bundle
from stscq.errors import BundleError
from stscq.quantization.trained_codec import load_codec
from tests.codec.conftest import change_json, with_card
from tests.plain_codec import decode, encode
from tests.test_places import as_nobody, open_folder


@pytest.fixture
def copy(bundles, tmp_path):
    return shutil.copytree(bundles["switchable"], tmp_path / "bundle")


def test_a_part_of_another_user_is_not_called_damaged(copy):
    open_folder(copy)
    (copy / "decoder.safetensors").chmod(0)
    said = as_nobody(lambda: Bundle(copy).load_part(Bundle(copy).tokenizer(), "decoder", torch.device("cpu")))
    assert said == f"BundleError: {copy}/decoder.safetensors: no permission to read it; ask its owner for chmod a+r"


def test_every_changed_file_is_named(copy):
    Bundle(copy).verify()
    for file in sorted(copy.glob("*.safetensors")):
        whole = file.read_bytes()
        changed = bytearray(whole)
        changed[-1] ^= 1
        file.write_bytes(bytes(changed))
        with pytest.raises(BundleError, match=f"{file.name}: not the content that was exported"):
            Bundle(copy).verify()
        file.write_bytes(whole[:-1])
        with pytest.raises(BundleError, match=f"{file.name} has another size"):
            Bundle(copy)
        file.unlink()
        with pytest.raises(BundleError, match=f"{file.name} is missing"):
            Bundle(copy)
        file.write_bytes(whole)


def test_every_changed_byte_of_the_description_is_noticed(copy):
    file = copy / "bundle.json"
    whole = file.read_bytes()
    described = json.loads(whole)
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = Bundle(copy)
        except BundleError:
            continue
        assert found.fingerprint.hex() == described["fingerprint"]  # layout, the name, or the preferred selection
    for size in (0, 1, 100, len(whole) - 3):
        file.write_bytes(whole[:size])
        with pytest.raises(BundleError, match=r"bundle\.json"):
            Bundle(copy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 1}, "format 1; this program reads 2 and 3"),
        ({"K": 12}, "changed after the export"),
        ({"model": None}, "changed after the export"),
        ({"M": [], "fingerprint": None}, "not the description of a model"),
        ({"files": {}}, "changed after the export"),
        ({"selection": "best"}, "another version"),
    ],
)
def test_descriptions_that_are_refused(copy, changes, words):
    change_json(copy / "bundle.json", **changes)
    with pytest.raises(BundleError, match=words):
        Bundle(copy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"K": 12}, "K = 12 is no power of two"),
        ({"K": 2**30}, "K in bundle.json is not between"),
        ({"image_size": -1}, "image_size in bundle.json"),
        ({"image_size": 64}, "two image sizes"),
        ({"model": {"family": "titok", "layers": 10**6}}, "layers in bundle.json"),
        ({"model": {"family": "titok", "layer": 1}}, "no model has these arguments"),
        ({"M": True}, "M in bundle.json"),
        ({"T": 9}, "not the router of this model"),
        ({"T": 2**20, "K": 1, "router_rank": 2**20}, "not the router of this model"),  # four terabytes of numbers
        ({"M": 1}, "a router for one group"),
        (
            {"format": 3, "T": 300_000, "K": 2**15, "entries": [2**15, *[1] * 299_999]},
            "T x K x d is more than 268435456 in codebooks of unequal size",
        ),
    ],
)
def test_forged_descriptions_are_refused(copy, changes, words):
    """Those that fit their fingerprint."""
    from stscq.codec.bundle.description import fingerprint_of

    said = {**json.loads((copy / "bundle.json").read_text()), **changes}
    change_json(copy / "bundle.json", **changes, fingerprint=fingerprint_of(said))
    with pytest.raises(BundleError, match=words):
        Codec.load(copy).encode(np.zeros((1, 32, 32, 3), np.uint8))


def test_tensors_of_another_model_are_refused(copy):
    from stscq.codec.bundle.description import fingerprint_of, seal

    def replace(part, tensors):
        save_file(tensors, copy / f"{part}.safetensors")
        said = json.loads((copy / "bundle.json").read_text())
        said["files"][f"{part}.safetensors"] = seal(copy, part)
        change_json(copy / "bundle.json", files=said["files"], fingerprint=fingerprint_of(said))

    whole = {part: load_file(copy / f"{part}.safetensors") for part in ("encoder", "decoder", "codebooks", "tables")}
    face = np.zeros((1, 32, 32, 3), np.uint8)
    for part, name, words in (
        ("tables", "group", "group is no table"),
        ("codebooks", "group.00000", "group 0 has another shape"),
        ("encoder", "latent_tokens", "not the weights of this model"),
    ):
        replace(part, {**whole[part], name: whole[part][name][:-1].contiguous()})
        with pytest.raises(BundleError, match=words):
            Codec.load(copy).encode(face, "nn")
        replace(part, whole[part])
    for part, name in (("codebooks", "group.00000"), ("encoder", "latent_tokens")):
        broken = whole[part][name].clone()
        broken.view(-1)[-1] = torch.nan
        replace(part, {**whole[part], name: broken})
        with pytest.raises(BundleError, match=rf"{part}.safetensors: .*no finite numbers"):
            Codec.load(copy).encode(face, "nn")
        replace(part, whole[part])
    for wrong in (torch.int64, torch.int16):  # numbers that a table cannot have
        replace("tables", {**whole["tables"], "group": whole["tables"]["group"].to(wrong)})
        with pytest.raises(BundleError, match="group is no table"):
            Codec.load(copy)
    replace("tables", whole["tables"])
    for part, name in (("encoder", "latent_tokens"), ("codebooks", "group.00000")):
        replace(part, {**whole[part], name: whole[part][name].double()})
        with pytest.raises(BundleError, match=rf"{part}.safetensors: "):
            Codec.load(copy).encode(face, "nn")
        replace(part, whole[part])
    Codec.load(copy).encode(face, "nn")


def test_a_tensor_without_a_length_is_refused(bundles, tmp_path):
    folder = shutil.copytree(bundles["unequal"], tmp_path / "bundle")
    save_file({"group.00000": torch.tensor(1.0)}, folder / "codebooks.safetensors")
    with pytest.raises(BundleError, match="group 0 has another shape"):
        Bundle.codebook(unchecked(folder), 0)


def unchecked(folder):
    """A bundle whose files are not those that were exported."""
    from stscq.codec.bundle.description import PARTS, fingerprint_of, seal

    said = json.loads((folder / "bundle.json").read_text())
    said["files"] = {f"{part}.safetensors": seal(folder, part) for part in PARTS}
    change_json(folder / "bundle.json", files=said["files"], fingerprint=fingerprint_of(said))
    return Bundle(folder)


@pytest.mark.parametrize("depth", [200, 900, 1000, 3000, 100_000])
def test_deeply_nested_descriptions_are_refused(copy, depth):
    text = (copy / "bundle.json").read_text().replace('"model"', f'"x": {"[" * depth}{"]" * depth}, "model"', 1)
    (copy / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        Bundle(copy)


def test_no_folder_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="not a model bundle"):
        Bundle(tmp_path / "none")


@pytest.mark.parametrize("stage", ["tuned", "first", "second"])
def test_export_of_a_trained_codec(request, stage, faces, split, pictures, kept, tmp_path):
    folder = request.getfixturevalue(stage)
    export.main(faces, split / "index.parquet", folder, tmp_path / "b", name="one", profile="demo")
    trained, _ = load_codec(folder, torch.device("cpu"))
    codec = Codec.load(tmp_path / "b")
    codec.bundle.verify()
    for selection in ("nn", "router") if stage != "tuned" else ("nn",):
        assignment = encode(trained, pictures[:20], selection)
        found = codec.quantise(pictures[:20], selection)
        assert torch.equal(found.group, assignment.group)
        assert torch.equal(found.index, assignment.index)
        assert (codec.reconstruct(found) == decode(trained, assignment)).all()
    card = json.loads((tmp_path / "b/card.json").read_text())
    assert card["training"]["people"] == 34
    assert card["model"]["fingerprint"] == codec.bundle.fingerprint.hex()
    again = export.main(faces, split / "index.parquet", folder, tmp_path / "c", name="other")
    assert again is None
    assert Codec.load(tmp_path / "c").bundle.fingerprint == codec.bundle.fingerprint
    if stage != "tuned":  # of a sample of the training faces as well, out of all their latents
        for name, latents in (("d", None), ("e", kept)):
            export.main(faces, split / "index.parquet", folder, tmp_path / name, images=100, latents=latents)
        assert Codec.load(tmp_path / "d").bundle.fingerprint == Codec.load(tmp_path / "e").bundle.fingerprint


def test_a_bundle_is_shipped_with_what_was_measured_of_it(bundles, tmp_path):
    folder = with_card(shutil.copytree(bundles["switchable"], tmp_path / "bundle"))
    measured = tmp_path / "metrics.json"
    measured.write_text(json.dumps({"images": 9, "selections": {"router": dict.fromkeys(ship.SHOWN, 0.5)}}))
    ship.main(folder, measured, tmp_path / "out")
    Bundle(tmp_path / "out").verify()
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["measured"] == {"images": 9, **dict.fromkeys(ship.SHOWN, 0.5)}
    measured.write_text("{}")
    with pytest.raises(BundleError, match="no evaluation of a codec"):
        ship.main(folder, measured, tmp_path / "none")
    (folder / "card.json").unlink()
    with pytest.raises(BundleError, match=r"card\.json"):
        ship.main(folder, measured, tmp_path / "none")
    assert not (tmp_path / "none").exists()
