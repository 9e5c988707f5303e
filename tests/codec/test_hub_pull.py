"""Pulling a bundle: nothing else comes, what is damaged is not kept, and what came is used without a network."""

import json
import shutil
from copy import deepcopy
from functools import partial
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest

from stscq.codec.api import Codec
from stscq.codec.bundle.pulled import pull, pulled_folders
from stscq.codec.bundle.push import push
from stscq.codec.bundle.read import Bundle
from stscq.errors import BundleError
from tests import hub as stand_in
from tests.codec import conftest
from tests.codec.conftest import HUB_FILES, HUB_NAME, VARIANTS, change_json, with_card
from tests.hub import Stored, unplug

refused = partial(conftest.refused, unchanged=pulled_folders)
"""What the cache offers is what it did before."""


def test_nothing_comes_but_the_files_of_a_bundle(pushed, hub):
    for path in ("pytorch_model.bin", "evil.pkl", "sub/bundle.json", "sub/encoder.safetensors", "bundle.json.py"):
        pushed.put(path, b"cos\nsystem\n(S'touch evil'\ntR.")
    pulled = pull(HUB_NAME)
    assert hub.fetched == sorted(HUB_FILES)
    assert {file.name for file in pulled.folder.iterdir()} == HUB_FILES
    assert not list(Path("cache").rglob("*.pkl"))


def test_codebooks_of_unequal_size_come_too(bundles, hub, tmp_path):
    """As those of the bundle that is shipped."""
    folder = with_card(shutil.copytree(bundles["unequal"], tmp_path / "unequal"))
    push(folder, "someone/unequal", private=False)
    pulled = pull("someone/unequal")
    assert pulled.fingerprint == Bundle(folder).fingerprint
    assert pulled.sizes.entries == VARIANTS["unequal"][3]


@pytest.mark.parametrize("part", ["decoder", "router"])
def test_a_changed_byte_is_refused_and_not_kept(pushed, part):
    whole = pushed.files()[f"{part}.safetensors"].content
    pushed.put(f"{part}.safetensors", whole[:-1] + bytes([whole[-1] ^ 1]))
    words = rf"^refused, and not kept: someone/faces/{part}.safetensors: not the content that was exported \(SHA-256\)"
    refused(words, pull, HUB_NAME)
    refused(words, Codec.from_pretrained, HUB_NAME)  # nor is it taken from the cache by the next call
    pushed.put(f"{part}.safetensors", whole)
    assert pull(HUB_NAME).verify() is None


def flip(file):
    """One byte of a file in the cache, which holds links to its contents."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.resolve().write_bytes(content)


def test_a_damaged_copy_is_fetched_again(pushed):
    folder = pull(HUB_NAME).folder
    flip(folder / "decoder.safetensors")
    with pytest.raises(BundleError, match=r"decoder\.safetensors: not the content"):
        Bundle(folder).verify()
    pull(HUB_NAME).verify()
    assert pulled_folders() == {folder: HUB_NAME}


def test_the_same_commit_of_another_repository_stays(pushed, hub):
    hub.repositories["other/copy"] = other = deepcopy(pushed)
    mine = pull(HUB_NAME).folder
    whole = other.files()["decoder.safetensors"].content
    changed = Stored(whole[:-1] + bytes([whole[-1] ^ 1]), lfs=True)
    other.commits[other.refs["main"]]["decoder.safetensors"] = changed
    refused(r"other/copy/decoder\.safetensors: not the content", pull, "other/copy")
    Bundle(mine).verify()
    assert pulled_folders() == {mine: HUB_NAME}


def test_a_refused_commit_leaves_what_was_pulled_before(pushed, bundle, hub):
    good = pull(HUB_NAME)
    pushed.put("tables.safetensors", bytes(len(pushed.files()["tables.safetensors"].content)))
    refused("not the content that was exported", pull, HUB_NAME)
    assert Codec.from_pretrained(HUB_NAME).bundle.folder == good.folder
    good.verify()


@pytest.mark.parametrize("size", [-1, 1])
def test_sizes_are_compared_before_anything_large_comes(pushed, hub, size):
    whole = pushed.files()["encoder.safetensors"].content
    pushed.put("encoder.safetensors", whole[:-1] if size < 0 else whole + b"x")
    words = rf"someone/faces/encoder.safetensors: {len(whole) + size} bytes, not {len(whole)} as bundle.json says"
    refused(words, pull, HUB_NAME)
    assert hub.fetched == ["bundle.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"format": 4}, "someone/faces: format 4; this program reads 2 and 3"),
        ({"files": {}}, r"someone/faces/bundle.json: not the description of a model"),
        ({"M": 3}, "someone/faces: bundle.json was changed after the export"),
    ],
)
def test_other_descriptions_are_refused(pushed, content, words):
    description = json.loads(pushed.files()["bundle.json"].content)
    pushed.put("bundle.json", json.dumps({**description, **content}).encode())
    refused(words, pull, HUB_NAME)


def test_repositories_that_hold_no_bundle(hub):
    hub.repositories["other/model"] = stand_in.Repository()
    hub.repositories["other/model"].put("model.safetensors", b"")
    refused(r"^other/model: not a model bundle \(it has no bundle.json\)", pull, "other/model")
    hub.repositories["other/model"].put("bundle.json", b" " * (1 << 21))
    refused("^other/model: bundle.json has more than 1048576 bytes", pull, "other/model")
    assert hub.fetched == []


def test_a_revision(pushed, bundle, hub):
    first = pushed.refs["main"]
    pushed.refs["v1"] = first
    old = pull(HUB_NAME, "v1")
    change_json(bundle / "bundle.json", name="renamed")
    push(bundle, HUB_NAME, private=False)
    assert pull(HUB_NAME).name == "renamed"
    assert Codec.from_pretrained(HUB_NAME, revision="v1").bundle.name == old.name != "renamed"
    assert Codec.from_pretrained(HUB_NAME, revision=first).bundle.folder == old.folder
    refused("^someone/faces: the repository has no revision v2; name a branch", pull, HUB_NAME, "v2")
    assert sorted(pulled_folders().values()) == sorted([HUB_NAME, str(old.folder)])


def test_the_newest_commit_is_first_where_the_card_alone_changed(pushed, bundle, hub):
    """Both are one model, of which the first is taken."""
    for number in range(4):  # commits have hashes for names, in any order
        pushed.put("README.md", f"card {number}".encode())
        pull(HUB_NAME)
        assert next(iter(pulled_folders().values())) == HUB_NAME


def test_the_hub_is_asked_for_a_newer_commit_only_by_pull(pushed, bundle, hub):
    pull(HUB_NAME)
    change_json(bundle / "bundle.json", name="renamed")
    push(bundle, HUB_NAME, private=False)
    hub.requests.clear()
    assert Codec.from_pretrained(HUB_NAME).bundle.name != "renamed"
    assert hub.requests == []
    assert pull(HUB_NAME).name == "renamed"
    assert Codec.from_pretrained(HUB_NAME).bundle.name == "renamed"


@pytest.mark.parametrize("how", ["unplugged", "HF_HUB_OFFLINE"])
def test_without_a_network(pushed, hub, monkeypatch, how):
    pull(HUB_NAME)
    if how == "unplugged":
        unplug(hub)
        words = r"no connection to the hub \(.*\); try again where there is one"
    else:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        words = "the hub is not asked, because HF_HUB_OFFLINE is set"
    assert Codec.from_pretrained(HUB_NAME).bundle.folder in pulled_folders()
    refused(rf"^someone/faces: {words}", pull, HUB_NAME)
    refused(rf"^someone/none: {words}.* \(there is no such folder, and it was not pulled before\)$", find_none)


def find_none():
    Codec.from_pretrained("someone/none")


def test_a_pull_that_was_cut_goes_on(pushed, hub, monkeypatch):
    content = pushed.files()["decoder.safetensors"]
    sent = stand_in.Handler.stored

    def cut(self, body, oid):
        if oid != content.sha256:
            return sent(self, body, oid)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content.content)))
        self.end_headers()
        self.wfile.write(content.content[:1000])
        raise ConnectionAbortedError

    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _: None)
    hub.handle_error = lambda *_: None
    routes = [(m, p, cut if a is sent else a) for m, p, a in stand_in.ROUTES]
    with monkeypatch.context() as broken:
        broken.setattr(stand_in, "ROUTES", routes)
        refused("^someone/faces: ", pull, HUB_NAME)
        refused("^someone/faces: ", Codec.from_pretrained, HUB_NAME)
    assert Codec.from_pretrained(HUB_NAME).bundle.verify() is None
