"""DVC's remotes in object storage, as docs/storage.md says, against moto's S3 on the loopback."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("dvc_s3", reason='pip install "stscq[s3-test]": no dvc-s3')
moto = pytest.importorskip("moto.server", reason='pip install "stscq[s3-test]": no moto')

pytestmark = pytest.mark.slow
FILES = 300
"""So many that a push of one after the other can be interrupted."""
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "NO_PROXY": "127.0.0.1",
    "DVC_NO_ANALYTICS": "1",
}


class Clone:
    """A clone whose commands a user would type."""

    def __init__(self, folder):
        self.folder = folder

    def try_to(self, command):
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def run(self, command):
        code, said = self.try_to(command)
        assert code == 0, f"{command}: {said[-3000:]}"
        return said

    def contents(self):
        return {str(f.relative_to(self.folder)): f.read_bytes() for f in sorted(self.folder.glob("models/**/*.bin"))}


@pytest.fixture(scope="module")
def server():
    """Where an S3 answers: an address of the loopback, with a free port."""
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """A new bucket, seen by boto3 and not by DVC."""
    import boto3

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "NO_PROXY"):
        monkeypatch.setenv(name, ENVIRONMENT[name])
    name = f"faces-{time.monotonic_ns()}"
    made = boto3.resource("s3", endpoint_url=server).Bucket(name)
    made.create()
    return made


@pytest.fixture
def pushing(server, bucket, tmp_path):
    """A project with models and a remote in the bucket, committed; nothing is pushed yet."""
    clone = Clone(tmp_path / "pushing")
    (clone.folder / "models").mkdir(parents=True)
    for number in range(FILES):
        (clone.folder / "models" / f"{number}.bin").write_bytes(f"weights {number}".encode() * 1000)
    clone.run("git init -q && git config user.email a@b.c && git config user.name x && dvc init -q")
    clone.run(f"dvc remote add -q -d store s3://{bucket.name}/stscq")
    clone.run(f"dvc remote modify store endpointurl {server} && dvc remote modify store verify true")
    clone.run("dvc add -q models && git add -A && git commit -qm models")
    return clone


def clone_of(pushed, folder):
    subprocess.run(["git", "clone", "-q", pushed.folder, folder], check=True)
    return Clone(folder)


def test_what_one_clone_pushes_another_pulls(pushing, bucket, tmp_path):
    pushing.run("dvc push -q")
    assert len(list(bucket.objects.all())) == FILES + 1  # and the list of the folder
    pulling = clone_of(pushing, tmp_path / "pulling")
    pulling.run("dvc pull -q")
    assert pulling.contents() == pushing.contents()
    assert len(pulling.contents()) == FILES
    assert pulling.run("dvc status").strip() == "Data and pipelines are up to date."
    assert "in sync" in pulling.run("dvc status --cloud")


@pytest.fixture
def spoilt(pushing, bucket):
    """An object in the bucket, spoilt after the push without another size; and what it held."""
    pushing.run("dvc push -q")
    one = next(one for one in bucket.objects.all() if not one.key.endswith(".dir"))
    content = one.get()["Body"].read()
    one.put(Body=b"X" + content[1:])
    return one, content


def test_a_corrupted_object_is_refused(pushing, spoilt, tmp_path):
    pulling = clone_of(pushing, tmp_path / "pulling")
    code, said = pulling.try_to("dvc pull")
    assert code == 1
    assert "Checkout failed for following targets:\nmodels\n" in said
    assert pulling.contents() == {}
    one, content = spoilt
    one.put(Body=content)
    pulling.run("dvc pull -q")
    assert pulling.contents() == pushing.contents()


def test_what_is_not_verified_is_believed(pushing, spoilt, tmp_path):
    """Why docs/storage.md has `verify true`: without it DVC takes what S3 hands out."""
    pulling = clone_of(pushing, tmp_path / "pulling")
    pulling.run("dvc remote modify --local store verify false && dvc pull -q")
    there, pushed = pulling.contents(), pushing.contents()
    assert [there[name][:1] for name in there if there[name] != pushed[name]] == [b"X"]
    assert pulling.run("dvc status").strip() == "Data and pipelines are up to date."


def test_an_interrupted_push_is_finished(pushing, bucket, tmp_path):
    process = subprocess.Popen(["dvc", "push", "-q", "-j", "1"], cwd=pushing.folder, env=ENVIRONMENT)
    while len(list(bucket.objects.limit(10))) < 10:
        assert process.poll() is None, "the push ended by itself"
        time.sleep(0.02)
    process.kill()
    process.wait()
    arrived = len(list(bucket.objects.all()))
    assert 10 <= arrived < FILES
    early = clone_of(pushing, tmp_path / "early")
    assert early.try_to("dvc pull -q")[0] == 1
    assert early.contents() == {}
    pushing.run("dvc push -q")
    assert len(list(bucket.objects.all())) == FILES + 1
    pulling = clone_of(pushing, tmp_path / "pulling")
    pulling.run("dvc pull -q")
    assert pulling.contents() == pushing.contents()
