"""Bundles on the Hugging Face hub: what is pushed is what is pulled; access, the card, and the commands."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest
import yaml
from PIL import Image

from stscq.codec import models
from stscq.codec.api import Codec
from stscq.codec.bundle import find
from stscq.codec.bundle.pulled import pull, pulled_folders
from stscq.codec.bundle.push import push
from stscq.codec.bundle.read import Bundle
from stscq.codec.export import numbers_of
from tests import hub as stand_in
from tests.codec import conftest
from tests.codec.conftest import HUB_FILES, HUB_NAME, change_json, pack, unpack, with_card
from tests.codec.test_streams import called
from tests.conftest import ROOT
from tests.hub import unplug

ACCEPTED = "--accept-responsible-use"
refused = partial(conftest.refused, unchanged=pulled_folders)
"""What the cache offers is what it did before."""


def test_what_is_pushed_is_what_another_machine_pulls(hub, bundle, pictures):
    commit = push(bundle, HUB_NAME, private=False)
    there = hub.repositories[HUB_NAME]
    assert set(there.files()) == HUB_FILES
    assert commit.oid == there.refs["main"]
    for file in HUB_FILES - {"README.md"}:
        assert there.files()[file].content == (bundle / file).read_bytes()
    pulled = pull(HUB_NAME)
    assert {file.name for file in pulled.folder.iterdir()} == HUB_FILES
    for file in HUB_FILES:
        assert (pulled.folder / file).read_bytes() == there.files()[file].content
    files = Codec.load(bundle).encode(pictures[:20])
    assert Codec.from_pretrained(HUB_NAME).encode(pictures[:20]) == files
    assert (Codec.from_pretrained(HUB_NAME).decode(files) == Codec.load(bundle).decode(files)).all()


def test_the_commands_take_a_repository_and_find_a_pulled_bundle(pushed, hub, bundle, pictures, monkeypatch, capsys):
    Image.fromarray(pictures[0]).save("face.png")
    monkeypatch.setattr(find, "roots", list)  # no bundle but the pulled one
    pack("face.png", out="here.stscq", model=bundle)
    assert called(monkeypatch, "compress", "face.png", "--aligned", "-o", "there.stscq", "--model", HUB_NAME) == 0
    assert Path("there.stscq").read_bytes() == Path("here.stscq").read_bytes()
    unplug(hub)
    capsys.readouterr()
    assert unpack("there.stscq", out="face_again.png", model=None) == 0
    assert called(monkeypatch, "inspect", "there.stscq", "--model", HUB_NAME, "--json") == 0
    assert called(monkeypatch, "verify", "there.stscq", "--model", HUB_NAME) == 0
    told = capsys.readouterr().out
    assert str(huggingface_hub.constants.HF_HUB_CACHE) in told
    assert "there.stscq: whole (checksums and symbols)" in told
    unpack("here.stscq", out="face_here.png", model=bundle)
    assert Path("face_again.png").read_bytes() == Path("face_here.png").read_bytes()


def test_a_folder_comes_before_a_repository(pushed, bundle, hub):
    shutil.copytree(bundle, HUB_NAME)
    assert Codec.from_pretrained(HUB_NAME).bundle.folder == Path(HUB_NAME)
    assert hub.requests == []
    refused("someone/faces: a folder, which has no revision v1", Codec.from_pretrained, HUB_NAME, "v1")
    refused("bundle: a folder, which has no revision v1", Codec.from_pretrained, "bundle", revision="v1")


def test_access(pushed, bundle, hub, monkeypatch):
    refused(
        "^someone/none: no such repository on the hub, or a private one; correct the name, or log in",
        pull,
        "someone/none",
    )
    refused("^other/faces: the hub refuses this to you \\(403\\); log in", push, bundle, "other/faces", False)
    pushed.gated = True
    refused("^someone/faces: gated: ask for access on its page on the hub, then log in", pull, HUB_NAME)
    pushed.gated = False
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused("^someone/faces: the hub refuses this to you \\(401\\)", push, bundle, HUB_NAME, False)
    monkeypatch.delenv("HF_TOKEN")
    refused(
        "^someone/faces: you are not logged in to the hub; log in \\(`hf auth login`, or HF_TOKEN\\)",
        push, bundle, HUB_NAME, False,
    )  # fmt: skip
    assert pull(HUB_NAME).verify() is None  # a public one needs no token
    for name in ("someone", "a/b/c", "a--b/c", "-a/b", "a/b.git"):
        refused("no name of a repository on the hub; give OWNER/NAME", pull, name)


def test_private_repositories(bundle, hub, monkeypatch):
    push(bundle, HUB_NAME, private=True)
    assert hub.repositories[HUB_NAME].private
    push(bundle, HUB_NAME, private=True)
    push(bundle, "someone/open", private=False)
    commits = dict(hub.repositories["someone/open"].commits)
    refused("^someone/open: a public repository; make it private", push, bundle, "someone/open", True)
    assert hub.repositories["someone/open"].commits == commits
    monkeypatch.delenv("HF_TOKEN")
    refused("^someone/faces: no such repository on the hub, or a private one", pull, HUB_NAME)


def test_what_is_not_pushed(bundle, hub):
    decoder = bundle / "decoder.safetensors"
    whole = decoder.read_bytes()
    decoder.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused("decoder.safetensors: not the content that was exported", push, bundle, HUB_NAME, False)
    decoder.write_bytes(whole)
    card = json.loads((bundle / "card.json").read_text())
    change_json(bundle / "card.json", model={**card["model"], "fingerprint": "0" * 64})
    refused(r"card.json: the card of another bundle \(00000000\)", push, bundle, HUB_NAME, False)
    change_json(bundle / "card.json", model={**card["model"], "fingerprint": None})
    refused(r"card.json: the card of another bundle \(None\)", push, bundle, HUB_NAME, False)
    change_json(bundle / "card.json", model=None)
    refused("card.json: no card of a model", push, bundle, HUB_NAME, False)
    (bundle / "card.json").unlink()
    refused("card.json: no card of a model .*export the bundle again", push, bundle, HUB_NAME, False)
    refused("none: not a model bundle", push, Path("none"), HUB_NAME, False)
    assert hub.requests == []


def test_an_upload_that_fails_changes_nothing(bundle, hub, monkeypatch):
    def fails(self, body, oid):
        raise stand_in.RefusalError(400, "no space")

    upload = stand_in.Handler.upload
    with monkeypatch.context() as broken:
        broken.setattr(stand_in, "ROUTES", [(m, p, fails if a is upload else a) for m, p, a in stand_in.ROUTES])
        refused("^someone/faces: ", push, bundle, HUB_NAME, False)
    assert hub.repositories[HUB_NAME].files() == {}
    push(bundle, HUB_NAME, private=False)
    assert pull(HUB_NAME).verify() is None


def metadata(repository):
    """The YAML of README.md, and what stands under it."""
    _, text, body = repository.files()["README.md"].content.decode().split("---\n", 2)
    return yaml.safe_load(text), body


def test_the_card(pushed):
    said, body = metadata(pushed)
    assert (said["license"], said["license_name"]) == ("other", "research-only")
    assert said["library_name"] == "stscq"
    assert said["pipeline_tag"] == "image-to-image"
    assert {"face-compression", "titok"} <= set(said["tags"])
    (model,) = said["model-index"]
    (result,) = model["results"]
    assert model["name"] == "faces"
    assert result["dataset"]["name"] == "faces that were compressed in the profile demo"
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {"accuracy": 75.24, "psnr": 19.5}
    assert result["metrics"][1]["name"] == "PSNR in dB (selections.router)"
    assert "# small" in body
    assert "For research only" in body
    assert f"--model {HUB_NAME}" in body
    assert "## Limits" in body


@pytest.mark.parametrize("measured", [{}, {"see": "the tables"}, {"psnr": float("nan")}, {"secret": 1.0}])
def test_no_number_is_invented(bundle, hub, measured):
    change_json(bundle / "card.json", measured=measured)
    push(bundle, HUB_NAME, private=False)
    said, _ = metadata(hub.repositories[HUB_NAME])
    assert not {"model-index", "model_name", "eval_results", "metrics"} & set(said)


def test_the_numbers_of_an_evaluation(bundle, hub, tmp_path):
    """metrics.json, as `export --measured` takes it."""
    router = {"mean_acc": 75.5, "file_bytes": 22.25, "bits": 132, "utilisation_per_token": [0.5, 1.0]}
    summary = {"images": 40, "selections": {"router": {**router, "protocols": {"hard": {"mean_acc": 70.0}}}}}
    (tmp_path / "metrics.json").write_text(json.dumps(summary))
    change_json(bundle / "card.json", measured=numbers_of(tmp_path / "metrics.json"))
    push(bundle, HUB_NAME, private=False)
    (model,) = metadata(hub.repositories[HUB_NAME])[0]["model-index"]
    accuracy = "face verification after decompression, 10-fold accuracy in %"
    assert {metric["name"]: metric["value"] for metric in model["results"][0]["metrics"]} == {
        f"{accuracy} (selections.router)": 75.5,
        f"{accuracy} (selections.router.protocols.hard)": 70.0,
        "mean bytes of a file (selections.router)": 22.25,
    }


def test_a_licence_of_the_card(bundle, hub):
    push(with_card(bundle, licence="cc-by-4.0"), HUB_NAME, private=False)
    said, body = metadata(hub.repositories[HUB_NAME])
    assert said["license"] == "cc-by-4.0"
    assert "license_name" not in said
    assert "research" not in body


def test_the_commands_of_models(bundle, bundles, hub, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(find, "roots", lambda: [Path(), tmp_path])
    monkeypatch.setattr(find, "SHIPPED", bundles["global"])
    assert called(monkeypatch, "models", "list") == 0
    first = f"{bundles['global']}: global, 32 x 32 pixels, {Bundle(bundles['global']).fingerprint.hex()[:8]}"
    assert capsys.readouterr().out.splitlines() == [first]
    said = called(monkeypatch, "models", "push", bundle, HUB_NAME, "--json")
    assert said.startswith(f"error: {HUB_NAME}: whoever publishes a model answers for it: read RESPONSIBLE_USE.md")
    assert "\n" not in said
    assert (hub.requests, hub.repositories) == ([], {})
    assert called(monkeypatch, "models", "push", bundle, HUB_NAME, ACCEPTED, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["commit"] == hub.repositories[HUB_NAME].refs["main"]
    assert told["fingerprint"] == Bundle(bundle).fingerprint.hex()
    assert called(monkeypatch, "models", "pull", HUB_NAME) == 0
    assert capsys.readouterr().out.startswith(f"{HUB_NAME}: switchable, {told['fingerprint'][:8]}, whole (SHA-256")
    local = shutil.copytree(bundles["token_specific"], "models/demo/ibq/bundle/t/seed1")
    assert called(monkeypatch, "models", "list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        first,
        f"{local}: token_specific, 32 x 32 pixels, {Bundle(Path(local)).fingerprint.hex()[:8]}",
        f"{HUB_NAME}: switchable, 32 x 32 pixels, 15.5 bytes a face expected, {told['fingerprint'][:8]}",
    ]
    (Path(local) / "router.safetensors").unlink()
    assert models.show(as_json=True) == 1
    _, damaged, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert damaged["problem"].endswith("router.safetensors is missing; export it again")
    assert (whole["payload bytes a face, expected"], whole["problem"]) == (15.5, None)
    said = called(monkeypatch, "models", "pull", "someone/none")
    assert said.startswith("error: someone/none: no such repository on the hub")
    assert capsys.readouterr() == ("", "")


def test_a_model_that_is_neither_folder_nor_repository(hub, monkeypatch):
    for model in ("none", "./none/x", "/none/x", "a/b/c", ""):
        said = called(monkeypatch, "compress", "face.png", "-o", "x.stscq", "--model", model)
        assert "not a model bundle (No such file or directory: bundle.json)" in said
    assert hub.requests == []
    said = called(monkeypatch, "compress", "face.png", "-o", "x.stscq", "--model", "someone/none")
    assert said.startswith("error: someone/none: no such repository on the hub, or a private one")


@pytest.mark.slow
def test_as_a_user_calls_them(bundle, hub, tmp_path):
    """By the environment alone, in a process of its own, and into a pipe: no progress, no warning."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}

    def stscq(*arguments, **changes):
        command = [sys.executable, "-m", "stscq.cli", *map(str, arguments)]
        done = subprocess.run(command, env={**environment, "PYTHONPATH": str(ROOT), **changes}, capture_output=True)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    log_in = f"error: {HUB_NAME}: you are not logged in to the hub; log in (`hf auth login`, or HF_TOKEN)\n"
    assert stscq("models", "push", bundle, HUB_NAME, ACCEPTED, HF_TOKEN="") == (1, "", log_in)
    code, out, err = stscq("models", "push", bundle, HUB_NAME, ACCEPTED)
    assert (code, err) == (0, "")
    commit = hub.repositories[HUB_NAME].refs["main"]
    assert out.endswith(f", now {hub.url}/{HUB_NAME}/commit/{commit}\n")
    code, out, err = stscq("models", "pull", HUB_NAME, HF_TOKEN="")
    assert (code, err) == (0, "")
    assert str(tmp_path / "home/hub/models--someone--faces/snapshots" / commit) in out


def test_a_folder_needs_no_library_of_the_hub(bundle, pictures, tmp_path):
    Image.fromarray(pictures[0]).save(tmp_path / "face.png")
    script = (
        "import sys; from pathlib import Path; from stscq.codec.commands import compress, decompress\n"
        "compress(['face.png'], 'face.stscq', 'bundle', None, True, 1, True)\n"
        "decompress(['face.stscq'], 'again.png', 'bundle', [], 1, True)\n"
        "assert Path('again.png').is_file()\n"
        "print('huggingface_hub' in sys.modules, file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert done.stderr.decode() == "False\n"
