"""LFW from a local server in the place of the real one: resumed, checked, complete or not there."""

import io
import random
import tarfile

import pytest

from stscq.data import fetch_lfw
from stscq.data.fetch_lfw import RemoteFile
from stscq.data.lfw import list_lfw
from stscq.errors import DataError
from tests.test_weights import server, sha  # noqa: F401  the fixture


def archive(names):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as file:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 9_000
            file.addfile(member, io.BytesIO(random.Random(name).randbytes(member.size)))
    return content.getvalue()


@pytest.fixture
def lfw(server, monkeypatch):  # noqa: F811
    """The server, with two pictures of one person."""

    def serve(names):
        server.files = {"/pairs": b"10\t300\n", "/tgz": archive(names)}
        for kind, name, path in (("PAIRS", "pairs.txt", "/pairs"), ("ARCHIVE", "lfw-funneled.tgz", "/tgz")):
            monkeypatch.setattr(fetch_lfw, kind, RemoteFile(name, server.url + path, sha(server.files[path])))
        return server

    return serve


PERSON = ["lfw_funneled/A_B/A_B_0001.jpg", "lfw_funneled/A_B/A_B_0002.jpg"]


def test_it_is_fetched_once(lfw, tmp_path):
    served, home = lfw(PERSON), tmp_path / "lfw_home"
    assert "agrees with scikit-learn's SHA-256" in fetch_lfw.fetch_lfw(home)
    assert [picture.source for picture in list_lfw(home)] == PERSON
    assert sorted(path.name for path in home.iterdir()) == ["lfw_funneled", "pairs.txt"]
    served.requests.clear()
    assert fetch_lfw.fetch_lfw(home) == f"{home}: was there"
    assert served.requests == []


def test_a_cut_download_goes_on(lfw, tmp_path):
    served = lfw(PERSON)
    (tmp_path / "pairs.txt").write_text("10\t300\n")
    served.cuts, served.broken = [5_000], True
    with pytest.raises(DataError, match=r"lfw-funneled\.tgz: .*run it again to go on, or put http"):
        fetch_lfw.fetch_lfw(tmp_path)
    served.broken = False
    served.requests.clear()
    fetch_lfw.fetch_lfw(tmp_path)
    assert served.ranges == ["bytes=5000-"]
    assert len(list_lfw(tmp_path)) == 2


def test_other_bytes_are_refused(lfw, tmp_path):
    lfw(PERSON).files["/tgz"] = b"a login page"
    with pytest.raises(DataError, match=r"lfw-funneled\.tgz: refused: what came has SHA-256"):
        fetch_lfw.fetch_lfw(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.txt"]


@pytest.mark.parametrize("names", [["../outside.jpg"], ["other/x.jpg"]])
def test_an_archive_of_something_else_leaves_nothing(lfw, tmp_path, names):
    lfw(names)
    home = tmp_path / "home"
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch_lfw.fetch_lfw(home)
    assert not (home / "lfw_funneled").exists()
    assert not (home / ".partial-lfw_funneled").exists()
    assert not (tmp_path / "outside.jpg").exists()
