"""A single photo that another process reads while torch is imported: the same bytes, and the same words."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image
from skimage import data

from stscq.codec import commands
from stscq.codec.files.early import start_reading
from stscq.codec.files.sources import Source


@pytest.fixture
def photo(here):
    Image.fromarray(data.astronaut()).save("photo.jpg")
    return "photo.jpg"


def compress(path, out, early):
    return commands.compress([path], out, None, None, False, None, True, early=early)


def test_the_bytes_are_those_without_it(photo):
    compress(photo, "early.stscq", start_reading([photo], None))
    compress(photo, "late.stscq", None)
    assert Path("early.stscq").read_bytes() == Path("late.stscq").read_bytes()


def test_without_torch(photo):
    """Else nothing would be won."""
    program = "import sys; import stscq.cli; import stscq.codec.files.early; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_is_no_single_photo_waits_for_the_rest(photo, model, monkeypatch):
    assert start_reading(["D"], None) is None
    assert start_reading(["-"], None) is None
    assert start_reading(["missing.jpg"], None) is None
    assert start_reading([photo, photo], None) is None
    assert start_reading([photo], "nobody/nowhere") is None
    Path("bundle.json").write_text('{"image_size": "large"}')
    assert start_reading([photo], ".") is None
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert start_reading([photo], None) is None


def test_only_the_photo_and_size_that_were_asked_for(photo):
    early = start_reading([photo], None)
    assert early.of(Source("", Path(photo)), 64).face.shape == (64, 64, 3)
    assert early.of(Source("", Path(photo)), 32) is None
    assert early.of(Source("", Path("other.jpg")), 64) is None
    assert early.of(Source("", Path(photo), content=b"x"), 64) is None


def test_a_process_that_is_killed_is_not_missed(photo):
    early = start_reading([photo], None)
    for child in psutil.Process().children(recursive=True):
        if "spawn_main" in " ".join(child.cmdline()):
            child.send_signal(signal.SIGKILL)
    assert early.of(Source("", Path(photo)), 64) is None
    compress(photo, "killed.stscq", early)
    compress(photo, "late.stscq", None)
    assert Path("killed.stscq").read_bytes() == Path("late.stscq").read_bytes()


@pytest.mark.parametrize(("content", "words"), [(b"", "empty"), (b"no photo", "photo.jpg: ")])
def test_the_command_says_what_is_wrong_once(here, content, words):
    Path("photo.jpg").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-m", "stscq.cli", "compress", "photo.jpg", "-o", "x.stscq"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: photo.jpg: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("x.stscq").exists()


def test_the_command_writes_what_commands_do(photo):
    subprocess.run([sys.executable, "-m", "stscq.cli", "compress", photo, "-o", "x.stscq"], check=True)
    compress(photo, "late.stscq", None)
    assert Path("x.stscq").read_bytes() == Path("late.stscq").read_bytes()
