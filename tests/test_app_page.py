"""The page of `stscq app` in headless Chromium: upload a photo, read the bytes, see the pictures."""

import base64
import importlib.util
import io
import json
import socket
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from PIL import Image

from stscq.app.models import models_at_hand
from stscq.app.qr import from_qr, to_qr
from stscq.app.show import enlarged, show
from stscq.codec.api import Codec
from stscq.data.photos import read_photo
from stscq.errors import StscqError
from tests.browser import CHROMIUM, open_tab
from tests.test_app import ASTRONAUT, Pixels, app_models, png  # noqa: F401

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("gradio") is None, reason='no gradio here: pip install "stscq[app]"'),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)"),
]
# What a picture on the page shows: as a PNG, in base64.
DRAWN = """(() => {
  const image = document.querySelector("#KEY img"), canvas = document.createElement("canvas");
  if (!image || !image.complete || !image.naturalWidth) return null;
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/png").split(",")[1];
})()"""
TYPED = """(() => {
  const box = document.querySelector("SELECTOR");
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(box, "VALUE");
  for (const kind of ["input", "change", "pointerup", "blur"]) box.dispatchEvent(new Event(kind, { bubbles: true }));
})()"""
BOX = "document.querySelector('#{} textarea, #{} input')?.value"
PROBLEM = "document.querySelector('.problem textarea, .problem input')?.value"


class Page:
    """The page in a tab, as somebody uses it."""

    def __init__(self, tab, address):
        self.tab, self.address = tab, address
        tab.events.clear()
        tab.call("Page.navigate", url="about:blank")
        tab.call("Page.navigate", url=address)
        tab.wait("!!document.querySelector('#photo input[type=file]')")

    def box(self, key):
        return self.tab.value(BOX.format(key, key))

    def picture(self, key):
        self.tab.wait(DRAWN.replace("KEY", key))
        drawn = self.tab.value(DRAWN.replace("KEY", key))
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(drawn))).convert("RGB"))

    def wait_for_bytes(self, file):
        self.tab.wait(BOX.format("ours_hex", "ours_hex") + f" == '{file.hex(' ')}'")

    def outside(self):
        """Whatever it asked for that is not on its own server."""
        own = ("data", "blob"), urlsplit(self.address).netloc
        split = map(urlsplit, self.tab.requests)
        return [found.geturl() for found in split if found.scheme not in own[0] and found.netloc != own[1]]


@pytest.fixture(scope="module")
def connections():
    """The hosts that this process, which is the server, connects to or looks up."""
    asked, connect, look_up = [], socket.socket.connect, socket.getaddrinfo

    def connect_noted(self, address):
        asked.append(address[0])
        return connect(self, address)

    def look_up_noted(host, *arguments, **options):
        asked.append(host)
        return look_up(host, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_noted)
        patch.setattr(socket, "getaddrinfo", look_up_noted)
        yield asked


@pytest.fixture(scope="module")
def address(app_models, connections, tmp_path_factory):  # noqa: F811
    from stscq.app.page import build, launch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        models = models_at_hand(app_models)
        blocks = build(models, models, Pixels(), torch.device("cpu"))
        yield launch(blocks, "127.0.0.1", None, block=False)
        blocks.close(verbose=False)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    """One for all tests: a browser takes longer to start than a page to load."""
    with open_tab(tmp_path_factory.mktemp("chromium")) as tab:
        yield tab


@pytest.fixture
def page(address, tab):
    return Page(tab, address)


@pytest.fixture(scope="module")
def shown(app_models):  # noqa: F811
    """What the page is to show of the sample, by each of the models."""
    return [show(ASTRONAUT.read_bytes(), Codec.load(folder), Pixels()) for folder in app_models]


def test_upload_a_photo_read_the_bytes_see_the_pictures(page, shown, connections):
    page.tab.upload("#photo input[type=file]", ASTRONAUT)
    for model, expected in enumerate(shown):
        if model:
            page.tab.value(TYPED.replace("SELECTOR", "input[type=number]").replace("VALUE", str(model + 1)))
        page.wait_for_bytes(expected.file)
        assert page.box("ours_bytes") == str(len(expected.file))
        assert (page.picture("ours") == enlarged(expected.picture, 256)).all()
        assert (page.picture("classic") == enlarged(expected.classic.picture, 256)).all()
        assert page.box("classic_bytes") == str(len(expected.classic.chosen.file))
        assert page.box("classic_hex") == expected.classic.chosen.file.hex(" ")
        assert from_qr(page.picture("ours_qr")) == expected.file
        assert from_qr(page.picture("classic_qr")) == expected.classic.chosen.file
        text = page.tab.value("document.body.innerText")
        for cosine in (expected.cosine, expected.classic.cosine):
            assert f"cosine {cosine:.3f}" in text
        assert "No classic codec here makes a file of" in text
    assert page.outside() == []
    assert set(connections) <= {"127.0.0.1", "localhost"}
    assert connections


def test_what_is_no_face_is_one_line_on_the_page(page, shown, tmp_path):
    page.tab.upload("#photo input[type=file]", ASTRONAUT)
    page.wait_for_bytes(shown[0].file)
    (tmp_path / "words.png").write_text("words")
    (tmp_path / "wall.png").write_bytes(png(np.full((200, 300, 3), 90, np.uint8)))
    for name, words in (("words.png", "not a readable image"), ("wall.png", "no face found")):
        page.tab.value("document.querySelector('#photo button[aria-label=\"Remove Image\"]')?.click()")
        page.tab.wait("!!document.querySelector('#photo input[type=file]')")
        page.tab.upload("#photo input[type=file]", tmp_path / name)
        page.tab.wait(f"{PROBLEM} == '{words}'")
        assert page.box("ours_hex") == ""
        assert not page.tab.value("!!document.querySelector('#ours img')")
    assert "Traceback" not in page.tab.value("document.body.innerText")
    page.tab.value("document.querySelector('#photo button[aria-label=\"Remove Image\"]')?.click()")
    page.tab.wait("!!document.querySelector('#photo input[type=file]')")
    page.tab.upload("#photo input[type=file]", ASTRONAUT)
    page.wait_for_bytes(shown[0].file)
    assert not page.tab.value(PROBLEM)


def test_with_a_problem_nothing_of_the_photo_before_stays(tmp_path, monkeypatch):
    from stscq.app.page import answered

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    (tmp_path / "words.png").write_text("words")
    line, *rest = answered(str(tmp_path / "words.png"), read_photo, 2)
    assert (line["value"], line["visible"], rest) == ("not a readable image", True, [None, None])
    line, *rest = answered(str(tmp_path / "gone.png"), read_photo, 2)
    assert (line["value"], line["visible"], rest) == ("deleted here meanwhile; upload it again", True, [None, None])


def test_a_file_of_this_machine_is_not_to_be_had_by_its_path(address, tmp_path):
    """Gradio hands on any path of a request without `meta`."""
    private = tmp_path / "private.png"
    private.write_bytes(ASTRONAUT.read_bytes())
    event = {"data": [{"path": str(private)}, 1], "fn_index": 1, "session_hash": "test"}  # 0 is the sample's
    asked = urllib.request.Request(
        f"{address}gradio_api/queue/join", json.dumps(event).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(asked).close()
    with urllib.request.urlopen(f"{address}gradio_api/queue/data?session_hash=test") as stream:
        said = stream.read().decode()
    assert "not uploaded here" in said
    assert ".png" not in said  # no picture is answered


def test_open_a_file_and_a_qr_code(page, shown, tmp_path):
    page.tab.value("[...document.querySelectorAll('button[role=tab]')][1].click()")
    files = {"face.stscq": shown[0].file, "code.png": png(to_qr(shown[1].file)), "photo.png": ASTRONAUT.read_bytes()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        page.tab.wait("!!document.querySelector('#file input[type=file]')")
        page.tab.upload("#file input[type=file]", tmp_path / name)
        if name == "photo.png":
            page.tab.wait(f"({PROBLEM} ?? '').startsWith('no QR code found')")
        else:
            expected = shown[name != "face.stscq"]
            words = f"from {len(expected.file)} bytes"
            page.tab.wait(f"(document.querySelector('#opened_caption')?.innerText ?? '').startsWith('{words}')")
            assert (page.picture("opened") == enlarged(expected.picture, 256)).all()
        page.tab.value("document.querySelector('#file button[aria-label=\"Clear\"]').click()")
    assert page.outside() == []


def test_what_is_asked_for_outside_is_seen(page):
    page.tab.value("fetch('http://127.0.0.1:9/x').catch(() => 0)")
    assert page.outside() == ["http://127.0.0.1:9/x"]


def test_a_sample_is_a_click_away(page, shown):
    page.tab.wait("!!document.querySelector('.gallery-item')")
    page.tab.value("document.querySelector('.gallery-item').click()")
    page.wait_for_bytes(shown[0].file)


def test_nobody_else_is_served(address):
    assert urlsplit(address).hostname == "127.0.0.1"
    hosts = {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for host in hosts:
        with pytest.raises(OSError), socket.create_connection((host, urlsplit(address).port), timeout=2):
            pass


def test_a_port_that_is_taken_is_told(address, app_models):  # noqa: F811
    from stscq.app.page import build, launch

    models = models_at_hand(app_models)
    blocks = build(models, models, Pixels(), torch.device("cpu"))
    with pytest.raises(StscqError, match=r"^127.0.0.1, port \d+: not to be had; name another --port or --host$"):
        launch(blocks, "127.0.0.1", urlsplit(address).port, block=False)


def test_the_sample_is_there():
    from stscq.app.page import astronaut

    assert Path(astronaut()) == ASTRONAUT
