"""A single photo that another process reads while torch is imported: the same bytes, and the same words."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from stscq.codec import commands
from stscq.codec.files import early
from stscq.codec.files.early import start_reading
from stscq.codec.files.sources import Source


@pytest.fixture
def photo(here):
    Image.fromarray(data.astronaut()).save("photo.jpg")
    return "photo.jpg"


def compress(path, out, reading):
    return commands.compress([path], out, None, None, False, None, True, early=reading)


def dies(source, size, aligned):
    """In the place of `read_source`."""
    os._exit(1)


def ignores_ctrl_c(source, size, aligned):
    """In the place of `read_source`."""
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_the_bytes_are_those_without_it(photo):
    compress(photo, "early.stscq", start_reading([photo], None))
    compress(photo, "late.stscq", None)
    assert Path("early.stscq").read_bytes() == Path("late.stscq").read_bytes()


def test_a_description_nested_too_deeply_is_for_others_to_tell(photo):
    Path("model").mkdir()
    Path("model/bundle.json").write_text("[" * 100_000)
    assert start_reading([photo], "model") is None


def test_without_torch(photo):
    """Else nothing would be won."""
    program = "import sys; import stscq.cli; import stscq.codec.files.early; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_what_is_no_single_photo_waits_for_the_rest(photo, model, monkeypatch):
    assert start_reading(["D"], None) is None
    assert start_reading(["-"], None) is None
    assert start_reading(["missing.jpg"], None) is None
    assert start_reading([photo, photo], None) is None
    assert start_reading([photo], "nobody/nowhere") is None
    for size in ('"large"', "-1", "1000000"):
        Path("bundle.json").write_text(f'{{"image_size": {size}}}')
        assert start_reading([photo], ".") is None
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert start_reading([photo], None) is None


def test_only_the_photo_and_size_that_were_asked_for(photo):
    reading = start_reading([photo], None)
    assert reading.of(Source("", Path(photo)), 64).face.shape == (64, 64, 3)
    assert reading.of(Source("", Path(photo)), 32) is None
    assert reading.of(Source("", Path("other.jpg")), 64) is None
    assert reading.of(Source("", Path(photo), content=b"x"), 64) is None


def test_a_process_that_is_killed_is_not_missed(photo, monkeypatch):
    monkeypatch.setattr(early, "read_source", dies)
    reading = start_reading([photo], None)
    assert reading.of(Source("", Path(photo)), 64) is None
    compress(photo, "killed.stscq", reading)
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


def test_a_file_that_only_this_process_has_open(photo):
    """As a shell hands it over: exec 7<photo.jpg; stscq compress /dev/fd/7."""
    compress(photo, "late.stscq", None)
    with Path(photo).open("rb") as file:
        place = f"/proc/self/fd/{file.fileno()}"
        compress(place, "early.stscq", start_reading([place], None))
    assert Path("early.stscq").read_bytes() == Path("late.stscq").read_bytes()


def test_where_no_process_can_be_started(photo, monkeypatch):
    def nowhere(workers):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(early, "worker_pool", nowhere)
    assert start_reading([photo], None) is None


def test_ctrl_c_is_for_the_command_alone(photo, monkeypatch):
    """Else the process that reads would print where it was."""
    monkeypatch.setattr(early, "read_source", ignores_ctrl_c)
    before = signal.getsignal(signal.SIGINT)
    assert start_reading([photo], None).future.result()
    assert signal.getsignal(signal.SIGINT) is before
