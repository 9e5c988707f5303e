"""A stand-in for the Hugging Face hub: the part of its HTTP API that pushing and pulling a model call.

It keeps what was really sent, checks it as the hub does, and serves nothing else. Weights go the way of LFS (batch,
PUT, verify; a redirect to another host, where they are stored), other files come within the commit.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import huggingface_hub.constants
import yaml

TOKEN = "hf_of_someone"
OWNER = "someone"


class RefusalError(Exception):
    """status, and the hub's code for it (X-Error-Code)."""


class Stored(NamedTuple):
    content: bytes
    lfs: bool

    @property
    def git(self):
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def sha256(self):
        return hashlib.sha256(self.content).hexdigest()

    @property
    def etag(self):
        return self.sha256 if self.lfs else self.git


class Repository:
    """commits: oid -> its files by path; refs: branch or tag -> oid."""

    def __init__(self, private=False):
        self.private, self.gated = private, False
        self.commits, self.refs, self.messages = {}, {}, []
        self.commit({}, "initial commit")

    def commit(self, changes, message):
        files = {**self.files(), **changes} if self.refs else changes
        names = "".join(f"{path} {file.etag}\n" for path, file in sorted(files.items()))
        oid = hashlib.sha1(f"{len(self.commits)}\n{names}".encode()).hexdigest()
        self.commits[oid], self.refs["main"] = files, oid
        self.messages.append(message)
        return oid

    def files(self, revision="main"):
        return self.commits[self.oid(revision)]

    def oid(self, revision):
        oid = self.refs.get(revision, revision)
        if oid not in self.commits:
            raise RefusalError(404, "RevisionNotFound")
        return oid

    def put(self, path, content):
        """A commit with one other file, past all checks."""
        return self.commit({path: Stored(content, path.endswith(".safetensors"))}, f"put {path}")


class Hub(ThreadingHTTPServer):
    """repositories by OWNER/NAME; objects: what was uploaded, by SHA-256; requests: (method, path)."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.objects, self.requests = {}, {}, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def store(self):
        """Where the weights are: to a client, another host."""
        return f"http://localhost:{self.server_port}/lfs"

    @property
    def fetched(self):
        """Names of the files whose content was asked for."""
        asked = [path for method, path in self.requests if method == "GET" and re.search("/resolve/|/lfs/", path)]
        of_lfs = {
            file.sha256: path for r in self.repositories.values() for files in r.commits.values()
            for path, file in files.items()
        }  # fmt: skip
        return sorted(of_lfs.get(path.rpartition("/")[2], path.rpartition("/")[2]) for path in asked)


class Handler(BaseHTTPRequestHandler):
    def handle_any(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        body = self.body()
        try:
            for method, pattern, answer in ROUTES:
                found = re.fullmatch(pattern, path)
                if found and self.command in method:
                    return answer(self, body, **found.groupdict())
            raise RefusalError(404, "no such endpoint")
        except RefusalError as refusal:
            status, code = refusal.args
            return self.reply(status, json.dumps({"error": code}).encode(), {"X-Error-Code": code})

    def do_GET(self):
        self.handle_any()

    def do_HEAD(self):
        self.handle_any()

    def do_POST(self):
        self.handle_any()

    def do_PUT(self):
        self.handle_any()

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def reply(self, status, content=b"", headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def json(self, value, status=200):
        self.reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    @property
    def known(self):
        """Whether the caller is the one user of this hub."""
        token = self.headers.get("Authorization")
        if token not in (None, f"Bearer {TOKEN}"):
            raise RefusalError(401, "InvalidToken")
        return token is not None

    def repository(self, name, writing=False):
        found = self.server.repositories.get(name)
        if found is None or (found.private and not self.known):
            raise RefusalError(404 if self.known else 401, "RepoNotFound")
        if writing and not (self.known and name.startswith(f"{OWNER}/")):
            raise RefusalError(403 if self.known else 401, "Forbidden")
        return found

    def create(self, body):
        asked = json.loads(body)
        if not self.known:
            raise RefusalError(401, "Unauthorized")
        if asked["organization"] != OWNER:
            raise RefusalError(403, "Forbidden")
        name = f"{OWNER}/{asked['name']}"
        there = name in self.server.repositories
        if not there:
            self.server.repositories[name] = Repository(asked.get("visibility") == "private")
        self.json({"url": f"{self.server.url}/{name}"}, 409 if there else 200)

    def info(self, body, name, revision="main"):
        repository = self.repository(name)
        oid = repository.oid(revision or "main")
        siblings = [
            {"rfilename": path, "size": len(file.content), "blobId": file.git}
            for path, file in repository.files(oid).items()
        ]
        facts = {"id": name, "sha": oid, "private": repository.private, "gated": repository.gated}
        self.json({**facts, "siblings": siblings, "tags": []})

    def tree(self, body, name, revision):
        entries = []
        for path, file in self.repository(name).files(revision).items():
            entry = {"type": "file", "path": path, "size": len(file.content), "oid": file.git}
            lfs = {"oid": file.sha256, "size": len(file.content), "pointerSize": 134}
            entries.append({**entry, "lfs": lfs} if file.lfs else entry)
        self.json(entries)

    def validate(self, body):
        text = json.loads(body)["content"]
        try:
            metadata = yaml.safe_load(re.match("---\n(.*?)\n---\n", text, re.DOTALL)[1])
            missing = [key for key in ("license", "library_name") if key not in metadata]
        except (TypeError, yaml.YAMLError) as problem:
            missing = [str(problem)]
        self.json({"errors": [{"message": key} for key in missing], "warnings": []}, 400 if missing else 200)

    def preupload(self, body, name, revision):
        there = self.repository(name, writing=True).files(revision)
        answer = []
        for file in json.loads(body)["files"]:
            known = there.get(file["path"])
            mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
            answer.append(
                {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": known and known.etag}
            )
        self.json({"files": answer})

    def batch(self, body, name):
        self.repository(name, writing=True)
        objects = []
        for asked in json.loads(body)["objects"]:
            actions = {
                "upload": {"href": f"{self.server.store}/{asked['oid']}"},
                "verify": {"href": f"{self.server.url}/verify"},
            }
            objects.append(asked if asked["oid"] in self.server.objects else {**asked, "actions": actions})
        self.json({"transfer": "basic", "objects": objects})

    def upload(self, body, oid):
        assert "Authorization" not in self.headers, "a token goes to nobody but the hub"
        if hashlib.sha256(body).hexdigest() != oid:
            raise RefusalError(400, "other content")
        self.server.objects[oid] = body
        self.reply(200)

    def verify(self, body):
        asked = json.loads(body)
        if len(self.server.objects.get(asked["oid"], b"")) != asked["size"]:
            raise RefusalError(404, "not uploaded")
        self.json({})

    def commit(self, body, name, revision):
        repository = self.repository(name, writing=True)
        changes, summary = {}, ""
        for line in body.splitlines():
            kind, value = json.loads(line).values()
            if kind == "header":
                summary = value["summary"]
            elif kind == "file":
                changes[value["path"]] = Stored(base64.b64decode(value["content"]), lfs=False)
            else:
                assert kind == "lfsFile", kind
                changes[value["path"]] = Stored(self.server.objects[value["oid"]], lfs=True)
        oid = repository.commit(changes, summary)
        self.json({"commitUrl": f"{self.server.url}/{name}/commit/{oid}", "commitOid": oid, "success": True})

    def resolve(self, body, name, revision, path):
        repository = self.repository(name)
        if repository.gated:
            raise RefusalError(403, "GatedRepo")
        file = repository.files(revision).get(path)
        if file is None:
            raise RefusalError(404, "EntryNotFound")
        headers = {"X-Repo-Commit": repository.oid(revision), "ETag": f'"{file.etag}"'}
        if not file.lfs:
            return self.reply(200, file.content, headers)
        self.server.objects.setdefault(file.sha256, file.content)
        linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
        return self.reply(302, b"", {**headers, **linked, "Location": f"{self.server.store}/{file.sha256}"})

    def stored(self, body, oid):
        assert "Authorization" not in self.headers, "a token goes to nobody but the hub"
        self.reply(200, self.server.objects[oid])

    def log_message(self, *_):
        pass


MODEL = r"/api/models/(?P<name>[\w.-]+/[\w.-]+)"
ROUTES = [
    (("POST",), "/api/repos/create", Handler.create),
    (("POST",), "/api/validate-yaml", Handler.validate),
    (("GET",), rf"{MODEL}(/revision/(?P<revision>.+))?", Handler.info),
    (("GET",), rf"{MODEL}/tree/(?P<revision>[^/]+)", Handler.tree),
    (("POST",), rf"{MODEL}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    (("POST",), rf"{MODEL}/commit/(?P<revision>[^/]+)", Handler.commit),
    (("POST",), r"/(?P<name>[\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", Handler.batch),
    (("PUT",), "/lfs/(?P<oid>[0-9a-f]{64})", Handler.upload),
    (("GET", "HEAD"), "/lfs/(?P<oid>[0-9a-f]{64})", Handler.stored),
    (("POST",), "/verify", Handler.verify),
    (("GET", "HEAD"), r"/(?P<name>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
]


@contextmanager
def running():
    """A hub that answers."""
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield hub
        hub.shutdown()


def use(hub, monkeypatch, cache):
    """huggingface_hub asks this hub, as its one user, and keeps what comes in the folder `cache`."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def unplug(hub):
    hub.shutdown()
    hub.server_close()
