"""Digests of files, remembered: others may write theirs meanwhile, and nothing that was read is lost."""

import sqlite3
from contextlib import closing

import pytest

from stscq import hashes
from stscq.files import sha256_of_file
from stscq.hashes import sha256_of


def known(cache):
    with closing(sqlite3.connect(cache, timeout=0)) as database:
        return [name for (name,) in database.execute("select path from hashes order by path")]


@pytest.fixture
def two(tmp_path):
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_text(file.name)
    return files


def test_others_may_write_while_a_large_file_is_read(two, tmp_path, monkeypatch):
    """A store of 96 GB takes minutes, and a job that ends meanwhile must not wait for it."""
    cache = tmp_path / "hashes.sqlite"

    def read(file):
        if file.name == "b":
            with closing(sqlite3.connect(cache, timeout=0)) as other, other:
                other.execute("replace into hashes values ('/elsewhere', 's', 'd')")
        return sha256_of_file(file)

    monkeypatch.setattr(hashes, "sha256_of_file", read)
    found = sha256_of(two, cache)
    assert known(cache) == ["/elsewhere", *sorted(found)]


@pytest.mark.parametrize("every", [0.0, 1.0])
def test_what_was_read_before_one_that_cannot_be_read_is_kept(two, tmp_path, monkeypatch, every):
    monkeypatch.setattr(hashes, "EVERY", every)
    two[1].unlink()
    with pytest.raises(FileNotFoundError):
        sha256_of(two, tmp_path / "hashes.sqlite")
    assert known(tmp_path / "hashes.sqlite") == [str(two[0])]
