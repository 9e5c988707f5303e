"""Published weights, downloaded from a local server that plays the hub, InsightFace's release and plain URLs."""

import hashlib
import io
import os
import re
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import huggingface_hub.file_download
import insightface.utils.storage
import pytest
import yaml

from stscq.errors import ParamsError
from stscq.weights import commands
from stscq.weights.checksums import State, record, recorded, state
from stscq.weights.download import fetch
from stscq.weights.manifest import Hub, ModelPack, Weight, WeightsError, manifest, needed, select

CONTENT = bytes(range(256)) * 400
TITOK = "/yucornetto/tokenizer_titok_s128_imagenet/resolve/main/model.safetensors"


def sha(data):
    return hashlib.sha256(data).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `files` with ranges and the hub's headers.

    `cuts`: bytes after which the connection is closed, one for each coming GET. `broken`: every GET that has no cut
    fails with 404.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.requests, self.broken = {}, [], [], False

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def ranges(self):
        return [asked for method, _, asked in self.requests if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer("HEAD")

    def do_GET(self):
        self.answer("GET")

    def answer(self, method):
        asked = self.headers.get("Range")
        self.server.requests.append((method, self.path, asked))
        data = self.server.files.get(self.path)
        cut = self.server.cuts.pop(0) if method == "GET" and self.server.cuts else None
        if data is None or (method == "GET" and self.server.broken and cut is None):
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("X-Linked-Etag", f'"{sha(data)}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.end_headers()
        if method == "GET":
            self.wfile.write(data[start:][:cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(insightface.utils.storage, "MODEL_ZOO_RELEASE_DOWNLOAD_URL", f"{server.url}/packs/")
        # It keeps only whole chunks of 10 MB when a connection is cut; our files are smaller.
        monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
        monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _: None)
        yield server
        server.shutdown()


@pytest.fixture
def hub_weight(server):
    server.files["/someone/model/resolve/main/model.ckpt"] = CONTENT
    return Weight("weights/model.ckpt", "a test", Hub("someone/model", "model.ckpt"), None, None, "")


@pytest.fixture
def url_weight(server):
    server.files["/plain.pth"] = CONTENT
    return Weight("weights/plain.pth", "a test", f"{server.url}/plain.pth", len(CONTENT), sha(CONTENT), "")


def left_in(root):
    """Files in weights/ that a user sees or that wait to be resumed."""
    return sorted(
        str(p.relative_to(root / "weights"))
        for p in (root / "weights").rglob("*")
        if p.is_file() and p.suffix != ".lock"
    )


def test_the_manifest_pins_all_that_no_hub_announces():
    for path, weight in manifest().items():
        assert path == f"weights/{weight.name}"
        assert weight.what
        assert weight.licence
        if isinstance(weight.source, Hub):
            continue
        assert weight.size > 0
        assert len(bytes.fromhex(weight.sha256)) == 32
    # These publishers put the first digits of the SHA-256 into the file's name.
    for path in ("weights/alexnet.pth", "weights/fid_inception.pth"):
        weight = manifest()[path]
        assert weight.source.endswith(f"-{weight.sha256[:8]}.pth")


def test_a_profile_needs_the_paths_that_it_names_anywhere():
    params = {
        "judge": "weights/antelopev2/glintr100.onnx",
        "backbones": {"titok_s": {"published_weights": "weights/titok_s128.safetensors", "K": 4096}},
        "metrics": {"lpips": ["weights/lpips_alex.pth", "weights/alexnet.pth"]},
        "other": "weights/my_own.onnx",
    }
    names = {"titok_s128.safetensors", "antelopev2/glintr100.onnx", "alexnet.pth", "lpips_alex.pth"}
    assert {weight.name for weight in needed(params)} == names


def test_names_select():
    weights = list(manifest().values())
    for name in ("glintr100", "antelopev2/glintr100.onnx", "weights/antelopev2/glintr100.onnx"):
        assert [w.path for w in select(weights, [name])] == ["weights/antelopev2/glintr100.onnx"]
    assert select(weights, []) == weights
    both = [w.path for w in select(weights, ["faceres_deep"])]
    assert both == ["weights/faceres_deep.json", "weights/faceres_deep.bin"]
    with pytest.raises(WeightsError, match=r"titok_s12: no such weights; there are titok_s128\.safetensors, "):
        select(weights, ["titok_s12"])


def test_a_hub_file_is_downloaded_once_and_its_announced_hash_kept(server, hub_weight, tmp_path):
    assert "agrees with the SHA-256 that the hub announces" in fetch(tmp_path, hub_weight)
    assert (tmp_path / hub_weight.path).read_bytes() == CONTENT
    assert left_in(tmp_path) == ["SHA256SUMS", "model.ckpt"]
    subprocess.run(["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=tmp_path / "weights", check=True)
    server.requests.clear()
    assert fetch(tmp_path, hub_weight) == "was there, verified"
    assert server.requests == []


def test_a_cut_connection_is_resumed_in_the_same_run(server, hub_weight, tmp_path):
    server.cuts = [40_000]
    fetch(tmp_path, hub_weight)
    assert server.ranges == [None, "bytes=40000-"]
    assert (tmp_path / hub_weight.path).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["hub_weight", "url_weight"])
def test_a_download_that_failed_is_resumed_by_the_next_run(server, kind, tmp_path, request):
    weight = request.getfixturevalue(kind)
    server.cuts, server.broken = [40_000], True
    with pytest.raises(WeightsError, match="404"):
        fetch(tmp_path, weight)
    assert state(tmp_path, weight) is State.MISSING
    server.broken = False
    server.requests.clear()
    fetch(tmp_path, weight)
    assert server.ranges == ["bytes=40000-"]
    assert (tmp_path / weight.path).read_bytes() == CONTENT


def test_other_bytes_are_refused(server, url_weight, tmp_path):
    server.files["/plain.pth"] = CONTENT[::-1]
    with pytest.raises(WeightsError, match=rf"weights/plain\.pth: refused: .*{sha(CONTENT[::-1])}, not {sha(CONTENT)}"):
        fetch(tmp_path, url_weight)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("served", [CONTENT[:500], CONTENT + b"more"])
def test_a_whole_answer_of_another_length_is_refused(server, url_weight, tmp_path, served):
    server.files["/plain.pth"] = served
    with pytest.raises(
        WeightsError, match=f"should be of size {len(CONTENT)}.*By hand: put http.*at weights/plain.pth"
    ):
        fetch(tmp_path, url_weight)
    assert left_in(tmp_path) == []


def test_a_wrong_file_is_replaced_but_only_by_the_right_one(server, url_weight, tmp_path):
    file = tmp_path / url_weight.path
    file.parent.mkdir()
    file.write_bytes(CONTENT[::-1])
    server.files["/plain.pth"] = b"also wrong"
    with pytest.raises(WeightsError):
        fetch(tmp_path, url_weight)
    assert file.read_bytes() == CONTENT[::-1]
    server.files["/plain.pth"] = CONTENT
    fetch(tmp_path, url_weight)
    assert file.read_bytes() == CONTENT


def test_a_file_that_changed_on_the_hub_is_not_fetched(server, hub_weight, tmp_path):
    fetch(tmp_path, hub_weight)
    (tmp_path / hub_weight.path).unlink()
    server.files["/someone/model/resolve/main/model.ckpt"] = b"another release"
    server.requests.clear()
    with pytest.raises(WeightsError, match=rf"refused: the hub has {sha(b'another release')}, not .*SHA256SUMS"):
        fetch(tmp_path, hub_weight)
    assert server.ranges == []
    assert left_in(tmp_path) == ["SHA256SUMS"]


def test_the_manifest_wins_over_what_was_recorded(url_weight, tmp_path):
    fetch(tmp_path, url_weight)
    record(tmp_path, url_weight, sha(b"something else"))
    assert state(tmp_path, url_weight) is State.RIGHT


def test_a_copied_hub_file_is_checked_against_the_hub(server, hub_weight, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / hub_weight.path).write_bytes(CONTENT)
    assert state(tmp_path, hub_weight) is State.UNPINNED
    fetch(tmp_path, hub_weight)
    assert server.ranges == []
    assert state(tmp_path, hub_weight) is State.RIGHT


@pytest.mark.parametrize("inside", ["", "buffalo_l/"])
def test_insightface_pack(server, tmp_path, inside):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as pack:
        pack.writestr(f"{inside}det_10g.onnx", b"detector")
        pack.writestr(f"{inside}w600k_r50.onnx", CONTENT)
    server.files["/packs/buffalo_l.zip"] = archive.getvalue()
    weight = Weight(
        "weights/buffalo_l/w600k_r50.onnx", "", ModelPack("buffalo_l", "w600k_r50.onnx"), None, sha(CONTENT), ""
    )
    fetch(tmp_path, weight)
    assert (tmp_path / weight.path).read_bytes() == CONTENT
    assert left_in(tmp_path) == ["buffalo_l/w600k_r50.onnx"]


@pytest.mark.parametrize(
    ("served", "cuts", "problem"),
    [(b"no archive", [], "BadZipFile"), (None, [], "RuntimeError"), (CONTENT, [500], "ChunkedEncodingError")],
)
def test_a_damaged_pack_leaves_nothing(server, tmp_path, served, cuts, problem):
    server.cuts = cuts
    if served:
        server.files["/packs/buffalo_l.zip"] = served
    weight = Weight(
        "weights/buffalo_l/w600k_r50.onnx", "", ModelPack("buffalo_l", "w600k_r50.onnx"), None, sha(CONTENT), ""
    )
    with pytest.raises(
        WeightsError, match=rf"{problem} .*By hand: take w600k_r50\.onnx out of .*/packs/buffalo_l\.zip"
    ):
        fetch(tmp_path, weight)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("kind", ["hub_weight", "url_weight"])
def test_no_network_is_one_line(server, kind, tmp_path, request):
    weight = request.getfixturevalue(kind)
    server.shutdown()
    server.server_close()
    with pytest.raises(
        WeightsError, match=r"^weights/\w+\.\w+: no connection \(.*By hand: put http.* at weights/"
    ) as caught:
        fetch(tmp_path, weight)
    assert "\n" not in str(caught.value)


def test_unreadable_sums_are_named(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/SHA256SUMS").write_text(f"{sha(b'')}  model.ckpt\nnonsense\n")
    with pytest.raises(WeightsError, match="SHA256SUMS, line 2: "):
        recorded(tmp_path)


@pytest.fixture
def project(tmp_path):
    """One right file, one missing, one without known hash, one wrong."""
    (tmp_path / "config").mkdir()
    (tmp_path / "params.yaml").write_text("profile: demo\njudge: dlib\n")
    names = ["titok_s128.safetensors", "titok_b64.safetensors", "ibq_8192.ckpt", "lpips_alex.pth"]
    overlay = {"judge": f"weights/{names[3]}", "backbones": {name: f"weights/{name}" for name in names[:3]}}
    (tmp_path / "config/paper.yaml").write_text(yaml.safe_dump(overlay))
    (tmp_path / "weights").mkdir()
    for name in (names[0], names[2], names[3]):
        (tmp_path / "weights" / name).write_bytes(CONTENT)
    record(tmp_path, manifest()["weights/titok_s128.safetensors"], sha(CONTENT))
    return tmp_path


def test_list_and_verify_tell_the_four_states(project, capsys):
    commands.show(project, "paper")
    table = [re.split(r"  +", line) for line in capsys.readouterr().out.splitlines()]
    assert [(file, size, found) for file, _, size, found, _ in table] == [
        ("file", "size", "state"),
        ("weights/titok_s128.safetensors", "102kB", "present, verified"),
        ("weights/titok_b64.safetensors", "?", "missing"),
        ("weights/ibq_8192.ckpt", "102kB", "present, no known hash"),
        ("weights/lpips_alex.pth", "6.01kB", "present, WRONG"),
    ]
    assert table[1][4] == "hub yucornetto/tokenizer_titok_s128_imagenet model.safetensors"

    assert not commands.verify(project, "paper", [])
    out = capsys.readouterr().out
    assert f"add the line '{sha(CONTENT)}  ibq_8192.ckpt' to " in out
    assert "weights/titok_b64.safetensors: missing; run: stscq weights get titok_b64.safetensors" in out

    (project / "config/paper.yaml").write_text("judge: weights/titok_s128.safetensors\n")
    assert commands.verify(project, "paper", [])


def test_a_profile_without_weights(project, capsys):
    commands.show(project, "demo")
    assert capsys.readouterr().out == "profile demo needs no published weights\n"
    with pytest.raises(ParamsError, match=r"params\.yaml: no such file; run this in the project's folder"):
        commands.show(project / "config", "demo")


def test_command_line(server, tmp_path):
    server.files[TITOK] = CONTENT

    def stscq(*arguments):
        environment = {**os.environ, "HF_ENDPOINT": server.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [sys.executable, "-m", "stscq.cli", "weights", *arguments, "--folder", str(tmp_path)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    run = stscq("get", "titok_s128", "titok_b64")
    assert run.returncode == 1  # the server has no titok_b64
    assert run.stdout.startswith("weights/titok_s128.safetensors: downloaded, ")
    failures = [line for line in run.stderr.splitlines() if line.startswith("error: ")]
    assert len(failures) == 1
    assert "titok_b64" in failures[0]
    assert "404" in failures[0]
    assert "Traceback" not in run.stderr
    assert stscq("get", "titok_s128").returncode == 0
    assert stscq("verify").returncode == 1
    unknown = stscq("get", "titok")
    assert unknown.returncode == 1
    assert unknown.stderr.startswith("error: titok: no such weights; ")
