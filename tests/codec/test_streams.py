"""Streams and disks that are full, closed or of another kind: one line that says so, and nothing half-written."""

import os
import resource
import shutil
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from stscq import cli
from stscq.codec import commands
from stscq.codec.files import compressed_file, sources
from tests.codec.conftest import pack, refused, unpack


def called(monkeypatch, *arguments):
    """What `stscq ARGUMENTS` ends with: an error's line, or a code."""
    monkeypatch.setattr(sys, "argv", ["stscq", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


def piped(content):
    """The path of a pipe, as a shell's <(command) has one."""
    reading, writing = os.pipe()
    threading.Thread(target=lambda: (os.write(writing, content), os.close(writing))).start()
    return f"/dev/fd/{reading}"


@pytest.mark.parametrize("command", [["compress", "D", "--aligned", "-o", "-"], ["inspect", "D.stscq"]])
def test_a_full_disk_behind_standard_output(packed, model, monkeypatch, command):
    full = Path("/dev/full").open("w", encoding="utf-8")  # noqa: SIM115 (its end would try again)
    monkeypatch.setattr(sys, "stdout", full)
    said = called(monkeypatch, *command, "--model", model)
    assert said == "error: standard output: No space left on device"
    with suppress(OSError):
        full.close()


def test_closed_streams(packed, model, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    refused("standard output is closed; name a file", pack, "D/a/0.png", out="-", model=model)
    monkeypatch.setattr(sys, "stdin", None)
    refused("standard input is closed; name a file", pack, "-", out="x", model=model)
    refused("standard input is closed; name a file", unpack, "-", out="x", model=model)


@pytest.mark.parametrize("command", ["inspect", "verify", "watermark detect", "compress"])
def test_a_stream_without_an_end(here, monkeypatch, capsys, command):
    monkeypatch.setattr(sources, "MAX_STDIN", 1 << 20)
    monkeypatch.setattr(sys, "stdin", Path("/dev/zero").open())  # noqa: SIM115
    out = ["-o", "x"] if command == "compress" else []
    ended = called(monkeypatch, *command.split(), "-", *out)
    said = capsys.readouterr().err.strip() if ended == 1 else ended
    assert said.startswith("error: ")
    assert said.endswith("standard input has more than 1,048,576 bytes; name a file")
    assert "\n" not in said


def test_pipes_are_read(packed, model):
    assert pack(piped(Path("D/a/0.png").read_bytes()), out="again.stscq", model=model) == 0
    assert Path("again.stscq").read_bytes() == Path("one.stscq").read_bytes()
    assert unpack(piped(Path("one.stscq").read_bytes()), out="one.png", model=model) == 0
    assert Path("one.png").is_file()


def test_an_archive_from_a_pipe_fills_a_new_folder(packed, model, monkeypatch):
    monkeypatch.setattr(compressed_file, "is_stream", lambda path: path == "-")
    monkeypatch.setattr(compressed_file, "read_stream", lambda path: Path("D.stscq").read_bytes())
    assert unpack("-", out="new", model=model) == 0
    assert len(list(Path("new").rglob("*.png"))) == 4
    refused("an archive of 4 images; name a folder", unpack, "-", out="-", model=model)


def test_more_archives_than_files_may_be_open(packed, model):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(300):
        shutil.copy("D.stscq", f"{number}.stscq")
    few = len(os.listdir("/proc/self/fd")) + 40  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        assert unpack(*(f"{number}.stscq" for number in range(300)), out="all/", model=model) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(list(Path("all").rglob("*.png"))) == 1200


def test_a_name_that_the_terminal_cannot_show(packed, model, monkeypatch, capfdbinary):
    shutil.copy("D/a/0.png", "D/a/été.png")
    pack("D", out="names.stscq", model=model)
    with os.fdopen(os.dup(1), "w", encoding="ascii") as ascii_only:
        monkeypatch.setattr(sys, "stdout", ascii_only)
        assert not called(monkeypatch, "inspect", "names.stscq", "--names", "--model", model)
    assert rb"\xe9t\xe9.png" in capfdbinary.readouterr().out


def test_params_outside_a_project(here, monkeypatch):
    assert called(monkeypatch, "params") == (
        "error: params.yaml: no such file; run this in the project's folder, or name it by --folder"
    )


@pytest.mark.parametrize(("text", "words"), [("a: [", "while parsing"), ("", "empty"), ("[1]", "no mapping")])
@pytest.mark.parametrize("command", ["params", "sources -o x", "weights list --profile demo"])
def test_params_that_are_none(here, monkeypatch, command, text, words):
    Path("params.yaml").write_text(text)
    said = called(monkeypatch, *command.split())
    assert said.startswith(f"error: params.yaml: {words}")
    assert "\n" not in said


def test_a_disk_that_cannot_be_written(packed, model, monkeypatch):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device", "out/0.png")

    monkeypatch.setattr(commands, "to_folder", full)
    said = called(monkeypatch, "decompress", "D.stscq", "-o", "out", "--model", model)
    assert said == "error: out/0.png: No space left on device"

    def full_but_where(*arguments, **named):
        raise OSError(28, "No space left on device")  # as numpy has it

    monkeypatch.setattr(commands, "to_folder", full_but_where)
    assert (
        called(monkeypatch, "decompress", "D.stscq", "-o", "out", "--model", model) == "error: No space left on device"
    )
